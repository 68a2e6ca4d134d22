/* SPDX-License-Identifier: (MIT OR GPL-2.0) */
/* bcc asks for it; the probe needs nothing of it. */
