/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * XXH3 by the widest vectors that this processor has, which the library finds out at the first
 * call: a third of the time that its plain functions take, which are built for every x86-64.  The
 * sums are the same.
 */
#ifndef UVFIO_BASE_XXH3_H
#define UVFIO_BASE_XXH3_H

#include <xxhash.h>
/* Installed where the library was built with them (Debian does). */
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h> /* has the names above stand for its functions */
#endif

#endif
