/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A core that is wrong on purpose, to show that the stress program finds it: mutant.c is linked in
 * place of what unmapping waits with.  In the program proper there is none.
 */
#ifndef TESTS_STRESS_MUTANT_H
#define TESTS_STRESS_MUTANT_H

#include <stdbool.h>

#ifdef STRESS_MUTANT
/* Ends the program: 0 when the fault was found. */
void mutant_ends(bool found);
#else
static inline void mutant_ends(bool found)
{
	(void)found;
}
#endif

#endif
