/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The second door: with --socket the cases' system calls on the device and its container become
 * messages of the vfio-user protocol (wire.c).  The cases themselves do not know: the linker puts
 * the adapter before ioctl, pread, pwrite, mmap and the like (--wrap, meson.build).
 *
 * A call that the protocol has no message for ends its case as not applicable, with the reason; so
 * does a case of the table in wire_na.c, whose calls would have messages but whose question is
 * about something that a message does not have.  docs/rules/vfio-user.md lists both;
 * scripts/compare-rules --socket compares.
 */
#ifndef RULES_WIRE_H
#define RULES_WIRE_H

#include "rules.h"

#define NO_ADDRESSES "a message has no addresses, so none can be bad"
#define NO_DIRTY     "dirty pages are asked for with DEVICE_FEATURE"
#define NO_FILE      "a session of data is the connection's, and has no file"
#define NO_GROUPS    "a connection is container and group: there are none to arrange"

/* From now on the device is behind the socket at @path. */
void wire_use(const char *path);
bool wire_used(void);
/* Opens a connection and fills t->container, t->group and t->dev as far as @setup says; ends the
 * case when that cannot be. */
void wire_open_all(struct t *t, enum setup setup);
/* A connection for learning what the device is, or -errno. */
int wire_learn(void);
/* Is there a call to map memory with?  A device without IOMMU is told by that (A.9).  @dev: of
 * wire_learn(). */
bool wire_can_map(int dev);
/* Whether the case @name makes no sense through a socket: the reason, else NULL. */
const char *wire_na(const char *name);
/* Ends the case in progress as not applicable. */
_Noreturn void not_applicable(const char *reason);

#endif
