/* SPDX-License-Identifier: BSD-3-Clause */
/* What is known of a device before the first case (struct facts, rules.h). */
#ifndef RULES_FACTS_H
#define RULES_FACTS_H

#include "rules.h"

/* Learns what device @bdf is; opens and closes it.  0, or -errno after a message on stderr. */
int facts_learn(struct facts *f, const char *bdf);
/* The same for the device behind the vfio-user socket @path, and through it from now on. */
int facts_learn_socket(struct facts *f, const char *path);
/* The rest of @f, of the open device @dev whose address is known. */
int facts_ask(int dev, struct facts *f);
/* Why a case with needs @wanted makes no sense for this device; NULL when it does. */
const char *facts_missing(const struct facts *f, const struct facts *other,
			  const struct facts *sibling, unsigned wanted);
/* Config space as it was before the first case. */
uint32_t facts_get(const struct facts *f, unsigned off, unsigned size);
/* Offset of a capability in the hardware's list, 0 when it is not there. */
unsigned facts_cap(const struct facts *f, unsigned id);
/* The first capability of the hardware's list, 0 when there is none. */
unsigned facts_first_cap(const struct facts *f);
unsigned facts_ext_cap(const struct facts *f, unsigned id);

#endif
