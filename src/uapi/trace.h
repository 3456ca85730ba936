/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio run --trace`: a line an event, for people or as JSON lines.  What the program asks for
 * (system calls on VFIO's files) is noted by the door, what happens in the machine (region
 * accesses, stores, DMA mappings, interrupts, faults, resets) by the core's observer.
 *
 * Any thread; a line is written at once and whole.
 */
#ifndef UVFIO_UAPI_TRACE_H
#define UVFIO_UAPI_TRACE_H

#include "uapi/request.h"

/* Creates (or empties) @path, observes @machine; NULL: another process has it, and only what the
 * program asks for is noted.  NULL with a message. */
struct uapi_trace *uapi_trace_new(const char *path, bool json, struct vfio_machine *machine,
				  struct uvfio_error *err);
void uapi_trace_free(struct uapi_trace *trace);

/* Around the handling of a request in this thread: events in between are the request's task's. */
void uapi_trace_begin(struct uapi_trace *trace, const struct uapi_request *req);
void uapi_trace_end(struct uapi_trace *trace, const struct uapi_request *req);

#endif
