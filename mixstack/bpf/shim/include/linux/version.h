/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* The oldest kernel that the probe runs on; only programs of a kind that it has not are bound to one. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
#define LINUX_VERSION_CODE KERNEL_VERSION(5, 8, 0)
