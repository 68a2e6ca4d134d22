/* Functions whose unwind rules count from registers that are rarely used so, as hand-written assembler
 * has them: each runs for a while where nothing but that register leads to its caller. */

#include <signal.h>
#include <sys/time.h>

#define ROUNDS "2000000"

/* A leaf that keeps its caller's stack pointer in rax, or in r11, while its own is 64-byte aligned. */
#define LEAF(name, kept, dwarf)                                                                    \
	asm(".globl " name "; .type " name ", @function; " name ": .cfi_startproc\n"               \
	    "	mov %rsp, %" kept "; .cfi_def_cfa " dwarf ", 8\n"                                  \
	    "	and $-64, %rsp; sub $512, %rsp; mov $" ROUNDS ", %ecx\n"                           \
	    "1:	dec %ecx; jnz 1b\n"                                                                \
	    "	mov %" kept ", %rsp; .cfi_def_cfa rsp, 8\n"                                        \
	    "	ret; .cfi_endproc; .size " name ", . - " name "\n")

LEAF("leaf_by_rax", "rax", "0");
LEAF("leaf_by_r11", "r11", "11");

/* What the next two call: it saves rbx before it computes, and for a while has not saved it yet. */
asm("saves_rbx: .cfi_startproc; mov $" ROUNDS ", %ecx\n"
    "1:	dec %ecx; jnz 1b\n"
    "	push %r12; .cfi_def_cfa_offset 16; .cfi_offset 12, -16\n"
    "	push %rbx; .cfi_def_cfa_offset 24; .cfi_offset 3, -24\n"
    "	xor %ebx, %ebx; mov $" ROUNDS ", %ecx\n"
    "1:	dec %ecx; jnz 1b\n"
    "	call inner\n"
    "	pop %rbx; .cfi_def_cfa_offset 16\n"
    "	pop %r12; .cfi_def_cfa_offset 8\n"
    "	ret; .cfi_endproc\n"
    "inner: .cfi_startproc; mov $" ROUNDS ", %ecx\n"
    "1:	dec %ecx; jnz 1b\n"
    "	ret; .cfi_endproc\n");

/* As the dynamic loader resolves a symbol: rbx is the base across a call. */
asm(".globl call_by_rbx; .type call_by_rbx, @function; call_by_rbx: .cfi_startproc\n"
    "	push %rbx; .cfi_def_cfa_offset 16; .cfi_offset 3, -16\n"
    "	mov %rsp, %rbx; .cfi_def_cfa_register 3\n"
    "	and $-64, %rsp; sub $512, %rsp\n"
    "	call saves_rbx\n"
    "	mov (%rbx), %rcx; mov %rbx, %rsp; .cfi_def_cfa_register 7\n"
    "	mov %rcx, %rbx; add $8, %rsp; .cfi_def_cfa_offset 8; .cfi_restore 3\n"
    "	ret; .cfi_endproc; .size call_by_rbx, . - call_by_rbx\n");

/* OpenSSL's assembler calls parts of its own, which leave rax alone. */
asm("leaves_rax: .cfi_startproc; mov $" ROUNDS ", %ecx\n"
    "1:	dec %ecx; jnz 1b\n"
    "	ret; .cfi_endproc\n"
    ".globl call_by_rax; .type call_by_rax, @function; call_by_rax: .cfi_startproc\n"
    "	mov %rsp, %rax; .cfi_def_cfa 0, 8\n"
    "	and $-64, %rsp; sub $512, %rsp\n"
    "	call leaves_rax\n"
    "	mov %rax, %rsp; .cfi_def_cfa rsp, 8\n"
    "	ret; .cfi_endproc; .size call_by_rax, . - call_by_rax\n");

static volatile int sink;

/* Runs in the midst of all of them. */
static void handler(int signal)
{
	for (int i = 0; i < 1000000; i++)
		sink = signal;
}

void interrupt_often(void)
{
	struct itimerval often = {{0, 4000}, {0, 4000}};

	signal(SIGALRM, handler);
	setitimer(ITIMER_REAL, &often, 0);
}
