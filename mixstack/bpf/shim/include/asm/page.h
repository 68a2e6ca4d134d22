/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
#define PAGE_SIZE 4096
