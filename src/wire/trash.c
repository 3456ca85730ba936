/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fds that a client has sent and nobody takes.
 *
 * Closing a file may call into whoever serves its file system (FUSE asks for a flush) or wait for a
 * network, so it is not done where others wait.  A connection gathers them, and a worker closes
 * them; meanwhile nothing else of that connection is handled.
 */
#include <fcntl.h>
#include <unistd.h>
#include "base/fd.h"
#include "wire/wire_private.h"

void wire_trash_add(struct wire_trash *trash, int fd)
{
	if (fd < 0)
		return;
	/* Those that clients send as a rule end at once. */
	if (fcntl(fd, F_GET_SEALS) >= 0 || uvfio_is_eventfd(fd))
		close(fd);
	else
		trash->fds[trash->nr++] = fd;
}

void wire_trash_move(struct wire_trash *to, struct wire_trash *from)
{
	while (from->nr && to->nr < WIRE_TRASH)
		to->fds[to->nr++] = from->fds[--from->nr];
}

void wire_trash_empty(struct wire_trash *trash)
{
	while (trash->nr)
		close(trash->fds[--trash->nr]);
}
