/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* bcc brings its own. */
#include <bcc/bpf.h>
