/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The keeper's sockets: made as an entry says, and removed with it; those of its VFs (vf-sockets=)
 * at the server's word, which knows when there are VFs.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/keeper.h"

void keeper_drop_socket(struct made_socket *made)
{
	struct stat st;

	/* Only what we made: somebody may have put a socket of his own there. */
	if (made->path && !lstat(made->path, &st) && st.st_dev == made->dev &&
	    st.st_ino == made->ino)
		unlink(made->path);
	free(made->path);
	made->path = NULL;
}

int keeper_make_socket(const struct entry *e, const char *path, struct made_socket *made,
		       struct uvfio_error *err)
{
	int fd = serve_listen(path, e->spec.mode, e->spec.group, err);
	struct stat st;

	if (fd < 0 || lstat(path, &st))
		return fd;
	made->path = strdup(path);
	made->dev = st.st_dev;
	made->ino = st.st_ino;
	if (made->path)
		return fd;
	unlink(path); /* nobody would remove it */
	close(fd);
	return uvfio_error_set(err, -ENOMEM, "out of memory");
}

static struct made_socket **find_vf(struct entry *e, unsigned index)
{
	struct made_socket **link = &e->vfs;

	while (*link && (*link)->index != index)
		link = &(*link)->next;
	return link;
}

void keeper_vf_goes(struct entry *e, unsigned index)
{
	struct made_socket **link = find_vf(e, index), *made = *link;

	if (!made)
		return;
	*link = made->next;
	keeper_drop_socket(made);
	free(made);
}

static int make_vf(struct entry *e, unsigned index, struct uvfio_error *err)
{
	struct made_socket *made = calloc(1, sizeof(*made));
	char *path = serve_spec_vf_socket(e->spec.vf_sockets, index);
	int fd;

	if (!made || !path)
		fd = uvfio_error_set(err, -ENOMEM, "out of memory");
	else
		fd = keeper_make_socket(e, path, made, err);
	free(path);
	if (fd < 0) {
		free(made);
		return fd;
	}
	made->index = index;
	made->next = e->vfs;
	e->vfs = made;
	return fd;
}

void keeper_vf_comes(struct keeper *keeper, uint64_t id, struct entry *e, unsigned index)
{
	const struct serve_message msg = {
		.kind = SERVE_VF_SOCKET, .id = id, .value = (int32_t)index};
	struct uvfio_error err = {""};
	int fd = -ENOENT;

	if (e && e->spec.vf_sockets && index < 4096) {
		keeper_vf_goes(e, index);
		fd = make_vf(e, index, &err);
	}
	if (fd < 0 && err.msg[0])
		keeper_complain("%s: VF %u is served nowhere: %s", e->said.where, index, err.msg);
	if (serve_outbox_send(&keeper->tell, &msg, NULL, fd < 0 ? -1 : fd) && fd >= 0)
		keeper_vf_goes(e, index);
	if (fd >= 0)
		close(fd);
}
