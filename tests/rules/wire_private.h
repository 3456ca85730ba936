/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two halves of the adapter share (wire.c, wire_session.c). */
#ifndef RULES_WIRE_PRIVATE_H
#define RULES_WIRE_PRIVATE_H

#include "support/wire_client.h"
#include "wire.h"

#define CHUNK (1u << 20)

/* From and to the memory of the caller, which may not be there: then the case ends, since a message
 * has no addresses. */
void fetch(void *dst, const void *src, size_t n);
void store(void *dst, const void *src, size_t n);
/* The connection, by the device of the case in progress. */
struct wire *wire_of_case(void);

/* Does @fd stand for a session of data?  Its number from 1, or 0. */
unsigned wire_session(int fd);
/* SET of MIG_DEVICE_STATE, at @arg in the caller's memory: 0 or -errno. */
long wire_set_state(struct wire *w, void *arg);

#endif
