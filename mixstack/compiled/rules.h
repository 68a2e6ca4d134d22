/* SPDX-License-Identifier: MIT */
/* What the instructions of an FDE say, as rows (DWARF 5, 6.4.2).
 *
 * Only the CFA, the return address and one register more are followed: rows hold no other. That is
 * rbp; or, to learn where a function saves another register, that one stands in its place. */
#ifndef MIXSTACK_RULES_H
#define MIXSTACK_RULES_H

#include "dwarf.h"

#define NO_RULE ((ms_u64)MS_ROW_NONE << 60)
#define PC_MASK 0xffffffffULL

/* Where a register of the caller is: how >= 0: at register `how` + number. */
enum {
	SAME = -1, /* unchanged */
	UNDEFINED = -2, /* which for rbp comes to the same: nobody may rely on it */
	ELSEWHERE = -3, /* in a way that no row can say */
	AT_CFA = -4, /* at CFA + number */

	NO_REGISTER = -1, /* the CFA is an expression, or nothing has been said of it yet */
};

struct saved {
	ms_s32 how;
	ms_s64 number;
};

/* The rules at one place: CFA = base + offset, or what the expression computes. */
struct state {
	ms_s32 base;
	ms_s64 offset;
	struct reader expression;
	struct saved followed, return_address;
};

/* What many FDEs share. */
struct cie {
	ms_u32 at; /* where in its section */
	ms_u8 known; /* it is for x86-64 code, and can be understood */
	ms_u8 pointer_size; /* bytes of a pointer in an FDE */
	ms_u8 is_signed, pc_relative; /* these pointers */
	ms_u8 augmented; /* an FDE has augmentation data */
	ms_u8 signal; /* the frames are those that a signal made */
	ms_u64 code_align; /* below 4 GiB */
	ms_s64 data_align;
	struct reader instructions; /* those that every FDE begins with */
	struct state initial; /* behind them, if rbp is followed */
};

/* The state behind the instructions of a CIE; whether they are sound. */
int begin(const struct cie *cie, ms_u64 followed, struct state *state);

/* What the instructions say from `initial` on, as rows with pc counted from the FDE's start; two neighbours
 * never have the same rule. followed: the register besides the return address, as DWARF numbers it. rows: room
 * for one more than there are bytes of instructions. Returns how many they are; -1 if the instructions are
 * broken. */
long follow(const struct cie *cie, struct reader instructions, const struct state *initial, ms_u64 followed,
	    ms_u64 *rows);

#endif
