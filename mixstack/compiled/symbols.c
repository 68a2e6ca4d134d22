/* SPDX-License-Identifier: MIT */
/* The functions of a file by its symbol tables (System V ABI, 4: symbol table; elf.h), as pieces that do not
 * overlap.
 *
 * In C, as libtorch has half a million symbols: in Python they took three seconds. What is read is a file of the
 * target: reads stay inside of the tables, and time is linear in their size but for a sort. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "sort.h"

enum {
	SYMBOL_SIZE = 24, /* Elf64_Sym, as words: name 32 bits, info 8, other 8, shndx 16; value; size */
	STT_NOTYPE = 0,
	STT_FUNC = 2,
	STT_GNU_IFUNC = 10,
	STB_LOCAL = 0,
	STB_GLOBAL = 1,
	STB_WEAK = 2,
	STB_GNU_UNIQUE = 10,
	SHN_UNDEF = 0,
	SHN_LORESERVE = 0xff00,
	SHN_XINDEX = 0xffff,

	RANGES_MAX = 16,
	TABLES_MAX = 8,
	COMPARED = 1 << 12, /* bytes of two names */
	BINDING_SHIFT = 40,
};

/* How bindings of one address are preferred; names that are none come last. */
enum { FIRST, SECOND, LOCAL, OTHER, NAMELESS };

struct range {
	ms_u64 start, end;
};

/* A function, or a piece of it. name: binding << 40 | table << 32 | offset in the table's strings. */
struct function {
	ms_u64 start, end, name;
};

/* A global function without a size, as hand-written assembler leaves them. */
struct unsized_function {
	ms_u64 start, section_end, name;
};

struct strings {
	const char *bytes;
	ms_u64 size;
};

struct ms_symbols {
	struct range code[RANGES_MAX];
	struct strings strings[TABLES_MAX];
	unsigned n_code, n_tables;
	struct function *functions; /* sorted pieces, once it is finished */
	struct unsized_function *unsized;
	ms_u64 n_functions, n_unsized, most, most_unsized;
	int has_local;
};

EXPORT struct ms_symbols *ms_symbols_new(void)
{
	return calloc(1, sizeof(struct ms_symbols));
}

EXPORT void ms_symbols_free(struct ms_symbols *symbols)
{
	if (symbols) {
		free(symbols->functions);
		free(symbols->unsized);
		free(symbols);
	}
}

/* A range of executable code; those after the first few are ignored. */
EXPORT void ms_symbols_code(struct ms_symbols *symbols, ms_u64 start, ms_u64 end)
{
	if (symbols->n_code < RANGES_MAX)
		symbols->code[symbols->n_code++] = (struct range){ start, end };
}

/* Room for one more item of an array; 0: no memory. */
static int grow(void **items, ms_u64 count, ms_u64 *most, ms_u64 size)
{
	ms_u64 wanted = *most ? 2 * *most : 1024;
	void *more;

	if (count < *most)
		return 1;
	more = realloc(*items, wanted * size);
	if (!more)
		return 0;
	*items = more;
	*most = wanted;
	return 1;
}

static int add_function(struct ms_symbols *symbols, ms_u64 start, ms_u64 end, ms_u64 name)
{
	if (!grow((void **)&symbols->functions, symbols->n_functions, &symbols->most, sizeof(struct function)))
		return 0;
	symbols->functions[symbols->n_functions++] = (struct function){ start, end, name };
	return 1;
}

static const struct range *code_of(const struct ms_symbols *symbols, ms_u64 address)
{
	unsigned i;

	for (i = 0; i < symbols->n_code; i++)
		if (symbols->code[i].start <= address && address < symbols->code[i].end)
			return &symbols->code[i];
	return 0;
}

static ms_u64 preference(unsigned binding)
{
	switch (binding) {
	case STB_GLOBAL:
	case STB_GNU_UNIQUE:
		return FIRST;
	case STB_WEAK:
		return SECOND;
	case STB_LOCAL:
		return LOCAL;
	}
	return OTHER;
}

static int add_unsized(struct ms_symbols *symbols, ms_u64 start, const struct range *section, ms_u64 name)
{
	if (start < section->start || start >= section->end || !code_of(symbols, start))
		return 1;
	if (!grow((void **)&symbols->unsized, symbols->n_unsized, &symbols->most_unsized,
		  sizeof(struct unsized_function)))
		return 0;
	symbols->unsized[symbols->n_unsized++] = (struct unsized_function){ start, section->end, name };
	return 1;
}

/* Take the functions of a symbol table of so many bytes: STT_FUNC and STT_GNU_IFUNC, and STT_NOTYPE where it has
 * a size and lies in code. The strings stay where they are until all is freed.
 *
 * sections: of this file, by their numbers. With them a global function without a size reaches to the next one
 * that is known, provided that local symbols are there: else what follows may be one that lost its name. Returns
 * the table's number; -1: no memory, or too many tables. */
EXPORT int ms_symbols_add(struct ms_symbols *symbols, const ms_u8 *table, ms_u64 size, const char *strings,
			  ms_u64 strings_size, const struct range *sections, ms_u64 n_sections)
{
	ms_u64 at, number = symbols->n_tables;

	if (number == TABLES_MAX)
		return -1;
	symbols->strings[symbols->n_tables++] = (struct strings){ strings, strings_size };
	for (at = 0; at + SYMBOL_SIZE <= size; at += SYMBOL_SIZE) {
		ms_u64 words[3], name;
		unsigned kind, section;
		const struct range *code;

		memcpy(words, table + at, SYMBOL_SIZE);
		kind = words[0] >> 32 & 15;
		section = (unsigned)(words[0] >> 48);
		if ((kind != STT_FUNC && kind != STT_NOTYPE && kind != STT_GNU_IFUNC) || !(ms_u32)words[0] ||
		    section == SHN_UNDEF || (section >= SHN_LORESERVE && section < SHN_XINDEX))
			continue;
		name = preference(words[0] >> 36 & 15) << BINDING_SHIFT | number << 32 | (ms_u32)words[0];
		if (!words[2]) {
			if (kind == STT_FUNC && name >> BINDING_SHIFT == FIRST && section < n_sections &&
			    !add_unsized(symbols, words[1], &sections[section], name))
				return -1;
			continue;
		}
		code = code_of(symbols, words[1]);
		if (!code)
			continue;
		if (!add_function(symbols, words[1],
				  words[2] < code->end - words[1] ? words[1] + words[2] : code->end, name))
			return -1;
		symbols->has_local |= name >> BINDING_SHIFT == LOCAL;
	}
	if (!symbols->has_local)
		symbols->n_unsized = 0;
	return (int)number;
}

/* By their starts. There is room for no more of them afterwards. */
static int sort_functions(struct ms_symbols *symbols)
{
	symbols->most = symbols->n_functions;
	return sort_records((void **)&symbols->functions, symbols->n_functions, 3, 0);
}

/* Let the unsized functions reach to the next known start, or to their section's end. */
static int size_by_neighbour(struct ms_symbols *symbols)
{
	ms_u64 count = symbols->n_functions, at = 0, reached = 0, i, next;

	if (!sort_records((void **)&symbols->unsized, symbols->n_unsized, 3, 0))
		return 0;
	for (i = 0; i < symbols->n_unsized; i = next) {
		struct unsized_function one = symbols->unsized[i];
		ms_u64 end = one.section_end;

		for (next = i + 1; next < symbols->n_unsized && symbols->unsized[next].start == one.start; next++)
			;
		for (; at < count && symbols->functions[at].start <= one.start; at++)
			if (symbols->functions[at].end > reached)
				reached = symbols->functions[at].end;
		if (reached > one.start)
			continue;
		if (at < count && symbols->functions[at].start < end)
			end = symbols->functions[at].start;
		if (next < symbols->n_unsized && symbols->unsized[next].start < end)
			end = symbols->unsized[next].start;
		if (!add_function(symbols, one.start, end, one.name))
			return 0;
	}
	return sort_functions(symbols);
}

/* The characters of a name, as far as they are compared; "": there is none, or it has no end. */
static const char *name_of(const struct ms_symbols *symbols, ms_u64 name, ms_u64 *size)
{
	const struct strings *strings = &symbols->strings[name >> 32 & 0xff];
	ms_u64 at = (ms_u32)name;

	*size = 0;
	if (at >= strings->size)
		return "";
	*size = strnlen(strings->bytes + at, strings->size - at < COMPARED ? strings->size - at : COMPARED);
	if (*size < COMPARED && at + *size == strings->size)
		*size = 0;
	return strings->bytes + at;
}

/* Which of two functions of one start is shown: the binding, then fewer underscores in front, then the alphabet. */
static int compare(const void *one, const void *other, void *of)
{
	const struct function *a = one, *b = other;
	ms_u64 a_size, b_size, a_bars = 0, b_bars = 0, a_binding, b_binding, least;
	const char *a_name = name_of(of, a->name, &a_size), *b_name = name_of(of, b->name, &b_size);
	int differ;

	a_binding = a_size ? a->name >> BINDING_SHIFT : NAMELESS;
	b_binding = b_size ? b->name >> BINDING_SHIFT : NAMELESS;
	if (a_binding != b_binding)
		return a_binding < b_binding ? -1 : 1;
	while (a_bars < a_size && a_name[a_bars] == '_')
		a_bars++;
	while (b_bars < b_size && b_name[b_bars] == '_')
		b_bars++;
	if (a_bars != b_bars)
		return a_bars < b_bars ? -1 : 1;
	least = a_size < b_size ? a_size : b_size;
	differ = memcmp(a_name, b_name, least);
	return differ ? differ : (a_size > b_size) - (a_size < b_size);
}

/* The pieces of the sorted functions: each address belongs to the innermost, which is the one that starts later. */
static int take_apart(struct ms_symbols *symbols)
{
	struct function *functions = symbols->functions, *pieces, *active;
	ms_u64 count = symbols->n_functions, n_pieces = 0, n_active = 0, at = 0, position = 0, group;

	pieces = malloc((2 * count + 1) * sizeof(*pieces));
	active = malloc((count + 1) * sizeof(*active)); /* the last is the innermost */
	while (pieces && active && (n_active || at < count)) {
		ms_u64 end;

		if (!n_active)
			position = functions[at].start;
		for (group = at; at < count && functions[at].start == position; at++)
			;
		if (at - group > 1)
			qsort_r(functions + group, at - group, sizeof(*functions), compare, symbols);
		for (end = at; end > group; end--)
			active[n_active++] = functions[end - 1];
		while (n_active && active[n_active - 1].end <= position)
			n_active--;
		if (!n_active)
			continue;
		end = active[n_active - 1].end;
		if (at < count && functions[at].start < end)
			end = functions[at].start;
		pieces[n_pieces++] = (struct function){ position, end, active[n_active - 1].name };
		position = end;
	}
	free(active);
	if (!pieces || !active) {
		free(pieces);
		return 0;
	}
	free(functions);
	symbols->functions = realloc(pieces, (n_pieces + 1) * sizeof(*pieces));
	if (!symbols->functions)
		symbols->functions = pieces;
	symbols->n_functions = n_pieces;
	return 1;
}

/* After all tables were added: how many pieces there are; -1: no memory. */
EXPORT long ms_symbols_finish(struct ms_symbols *symbols)
{
	if (!sort_functions(symbols) || !size_by_neighbour(symbols) || !take_apart(symbols))
		return -1;
	return (long)symbols->n_functions;
}

/* start, end, table and offset of the name of the piece that covers an address; whether there is one. */
EXPORT int ms_symbols_find(const struct ms_symbols *symbols, ms_u64 address, ms_u64 *piece)
{
	ms_u64 low = 0, high = symbols->n_functions;
	const struct function *found;

	while (low < high) {
		ms_u64 middle = (low + high) / 2;

		if (symbols->functions[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (!low || symbols->functions[low - 1].end <= address)
		return 0;
	found = &symbols->functions[low - 1];
	piece[0] = found->start;
	piece[1] = found->end;
	piece[2] = found->name >> 32 & 0xff;
	piece[3] = (ms_u32)found->name;
	return 1;
}
