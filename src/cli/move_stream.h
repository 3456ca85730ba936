/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where a device is moved to, or comes from: unix:PATH, tcp:HOST:PORT or file:PATH.  It is opened
 * here, with the rights of whoever asks, because the server may open nothing.
 */
#ifndef UVFIO_CLI_MOVE_STREAM_H
#define UVFIO_CLI_MOVE_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <uvfio/error.h>

/* All return a descriptor, or -errno with a message. */

/* To the other side, which waits there; or a new file, which must not be there yet. */
int move_stream_to(const char *uri, struct uvfio_error *err);
/* A file that was saved. */
int move_stream_file(const char *path, struct uvfio_error *err);
/* Wait for the other side at @uri: for who says something.  @cancel_fd: -ECANCELED when it can be read.  @waiting is called
 * when somebody can come. */
int move_stream_from(const char *uri, int cancel_fd, void (*waiting)(const char *uri),
		     struct uvfio_error *err);
/* What was to be saved was not: the new file goes again, unless a device may be in it.  Or it was,
 * and is there for good. */
void move_stream_drop(const char *uri);
int move_stream_keep(const char *uri, struct uvfio_error *err); /* 0 */
/* The path, if it is a file; else NULL. */
const char *move_stream_path(const char *uri);
/* Does it begin as one of the three does? */
bool move_stream_is_uri(const char *text);

#endif
