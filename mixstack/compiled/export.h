/* SPDX-License-Identifier: MIT */
#ifndef MIXSTACK_EXPORT_H
#define MIXSTACK_EXPORT_H

#define EXPORT __attribute__((visibility("default"))) /* for the modules beside */

#endif
