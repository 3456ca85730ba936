/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A device into a file, and out of one: an operator's session of moving it (vfio/move.h), whose
 * other end is a file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/handover.h"
#include "serve/server_private.h"
#include "vfio/move.h"
#include "vfio/observe.h"

#define PIECE (1u << 20)

/* At *@at of @fd, or where it stands if that is NULL. */
static int write_all(int fd, off_t *at, const uint8_t *bytes, size_t len, struct uvfio_error *err)
{
	while (len) {
		ssize_t n = at ? pwrite(fd, bytes, len, *at) : write(fd, bytes, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return uvfio_error_set(err, n ? -errno : -EIO, "writing its state: %s",
					       strerror(n ? errno : EIO));
		if (at)
			*at += n;
		bytes += n;
		len -= (size_t)n;
	}
	return 0;
}

/* All of a device that is paused. */
static int save_paused(struct vfio_move *move, int fd, off_t *at, uint8_t *piece,
		       struct uvfio_error *err)
{
	for (;;) {
		ssize_t n = vfio_move_read(move, piece, PIECE);
		int ret;

		if (n < 0)
			return uvfio_error_set(err, (int)n, "its state cannot be read: %s",
					       strerror((int)-n));
		if (!n)
			return 0;
		ret = write_all(fd, at, piece, (size_t)n, err);
		if (ret)
			return ret;
	}
}

int server_state_write(struct vfio_move *move, int fd, struct uvfio_error *err)
{
	uint8_t *piece = malloc(PIECE);
	off_t at = 0;
	int ret = piece ? save_paused(move, fd, &at, piece, err)
			: uvfio_error_set(err, -ENOMEM, "out of memory");

	free(piece);
	return ret;
}

static int save(struct server *server, struct vfio_device *dev, int fd, uint8_t *piece,
		struct uvfio_error *err)
{
	struct uvfio_error ignored;
	struct vfio_move *move;
	int ret = vfio_move_begin(dev, VFIO_MOVE_SAVE, &move, err);

	if (ret)
		return ret;
	ret = vfio_move_pause(move, err);
	if (!ret)
		ret = save_paused(move, fd, NULL, piece, err);
	if (!ret && fsync(fd))
		ret = uvfio_error_set(err, -errno, "writing its state: %s", strerror(errno));
	if (!ret)
		ret = vfio_move_give(move, err);
	/* Its client's calls that wait would be answered as a device answers that has gone. */
	if (!ret)
		wire_sever(server->wire, vfio_device_name(dev));
	vfio_move_end(move, ret ? VFIO_MOVE_BACK : VFIO_MOVE_GONE, &ignored);
	return ret;
}

static int load(struct server *server, struct vfio_device *dev, int fd, uint8_t *piece,
		struct uvfio_error *err)
{
	struct uvfio_error ignored;
	struct vfio_move *move;
	int ret = vfio_move_begin(dev, VFIO_MOVE_LOAD, &move, err);
	ssize_t n = 1;

	if (ret)
		return ret;
	while (!ret && n) {
		n = read(fd, piece, PIECE);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ret = uvfio_error_set(err, -errno, "reading its state: %s",
					      strerror(errno));
		else if (n && (n = vfio_move_write(move, piece, (size_t)n, err)) < 0)
			ret = (int)n;
	}
	if (!ret)
		ret = vfio_move_loaded(move, err);
	if (!ret)
		ret = vfio_move_take(move, err);
	vfio_move_end(move, VFIO_MOVE_BACK, &ignored);
	return ret;
}

static int with_device(struct server *server, const char *name, int fd,
		       int (*fn)(struct server *, struct vfio_device *, int, uint8_t *,
				 struct uvfio_error *),
		       struct uvfio_error *err)
{
	struct vfio_device *dev = vfio_machine_get_device(server->machine, name);
	uint8_t *piece = malloc(PIECE);
	int ret;

	if (!dev)
		ret = uvfio_error_set(err, -ENODEV, "%s has gone", name);
	else if (!piece)
		ret = uvfio_error_set(err, -ENOMEM, "out of memory");
	else
		ret = fn(server, dev, fd, piece, err);
	free(piece);
	if (dev)
		vfio_device_put(dev);
	return ret;
}

void server_state_came(struct server *server, const struct serve_message *msg, int fd)
{
	if (server->state_fd >= 0)
		close(server->state_fd);
	server->state_fd = fd;
	server->state_id = msg->id;
	server->state_or_fresh = msg->value;
}

int server_state_load(struct server *server, uint64_t id, const char *name, struct uvfio_error *err)
{
	const struct serve_message refused = {.kind = SERVE_REFUSED, .id = id};
	int ret;

	if (server_arriving_state(server, id) >= 0)
		return with_device(server, name, server_arriving_state(server, id), load, err);
	if (id && server->arriving)
		return uvfio_error_set(err, -EPROTO, "it was not handed over");
	/* Control adds devices, too, in threads of its own: they have no id. */
	if (!id || server->state_fd < 0 || server->state_id != id)
		return 0;
	ret = with_device(server, name, server->state_fd, load, err);
	close(server->state_fd);
	server->state_fd = -1;
	if (!ret || !server->state_or_fresh)
		return ret;
	serve_send(server->config->tell, &refused, err->msg, -1);
	return 0;
}

int server_state_save(struct server *server, uint64_t id, int fd, struct uvfio_error *err)
{
	struct served *d;
	char name[16];
	int ret;

	pthread_mutex_lock(&server->lock);
	d = *server_find_locked(server, id, NULL);
	if (d)
		memcpy(name, d->name, sizeof(name));
	pthread_mutex_unlock(&server->lock);
	if (!d)
		ret = uvfio_error_set(err, -ENODEV, "it has gone");
	else if (fd < 0)
		ret = uvfio_error_set(err, -EPROTO, "no file came with it");
	else
		ret = with_device(server, name, fd, save, err);
	if (fd >= 0)
		close(fd);
	return ret;
}
