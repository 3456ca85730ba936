/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Calls of the runner about the machine, and about its devices as the host has them: what is behind
 * the tree in /sys.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "join/guest_private.h"

/* ---- devices as the host has them ---- */

/* Whether a program has it open we ask by a lease, to which only its owner and CAP_LEASE are
 * entitled.
 */
static int check_view(struct guest *guest, int fd)
{
	int error;

	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0) {
		fcntl(fd, F_SETLEASE, F_UNLCK);
		return 0;
	}
	error = errno;
	if (error == EAGAIN)
		return 0;
	uvfio_log(
		guest->log, UVFIO_LOG_ERROR,
		"the server of the machine %s is another user's, whose files this one cannot watch "
		"(%s): run as that user, or with CAP_LEASE",
		guest->name, strerror(error));
	return -EACCES;
}

int guest_take_view(struct guest *guest, struct handle *handle, int fd)
{
	int ret;

	if (fd < 0)
		return -EIO;
	/* A memory file, whatever the server says: its size is what it may change. */
	ret = fcntl(fd, F_GET_SEALS) < 0 ? -EIO : check_view(guest, fd);
	if (ret)
		return ret;
	pthread_mutex_lock(&guest->lock);
	handle->view = fd;
	LIST_INSERT_HEAD(&guest->views, handle, next);
	pthread_mutex_unlock(&guest->lock);
	return 0;
}

int guest_resource_open(struct uapi_core *core, const struct uapi_device *dev,
			enum vfio_mmio_mode mode, struct core_device **out, int *view)
{
	const struct join_head head = {.kind = JOIN_RESOURCE_OPEN, .arg = {mode}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	struct handle *handle = NULL;
	int64_t id = -EIO;
	int ret, fd = -1;

	*view = -1;
	if (!line)
		return -EIO;
	ret = line_call(line, NULL, &head, dev->name, strlen(dev->name), NULL, 0);
	if (!ret) {
		id = line->in.head.value;
		fd = join_packet_take(&line->in, 0);
	}
	line_put(guest, line, ret);
	ret = guest_handle_new(id, &handle);
	if (!ret) {
		ret = guest_take_view(guest, handle, fd);
		*view = ret ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (!ret && *view < 0)
			ret = -errno;
		if (!ret) {
			*out = (struct core_device *)handle;
			return 0;
		}
	}
	if (handle && handle->view >= 0) {
		core->ops->device_release(core, (struct core_device *)handle);
		return ret;
	}
	if (fd >= 0)
		close(fd);
	if (id > 0)
		guest_release_id(core, (uint32_t)id);
	free(handle);
	return ret;
}

int guest_uio_ioctl(struct uapi_core *core, const struct uapi_device *dev,
		    struct vfio_client *client, unsigned cmd, uint64_t arg)
{
	const struct join_head head = {.kind = JOIN_UIO_IOCTL,
				       .arg = {(uint32_t)client->pid, cmd, arg}};

	return guest_result(guest_simple(core, client, &head, dev->name, strlen(dev->name), NULL));
}

enum sysfs_file guest_sysfs_identify(struct uapi_core *core, uint64_t ino,
				     const struct uapi_device **device, unsigned *bar)
{
	struct guest *guest = (struct guest *)core;
	const struct join_head head = {
		.kind = JOIN_SYSFS_IDENTIFY, .handle = atomic_load(&guest->sysfs), .arg = {ino}};
	enum sysfs_file what = SYSFS_FILE_OTHER;
	struct line *line = line_take(guest);
	const struct join_packet *in;
	char name[16] = "";
	bool broken;

	if (!line)
		return what;
	in = &line->in;
	broken = line_call(line, NULL, &head, NULL, 0, NULL, 0);
	if (!broken && in->head.len == sizeof(name)) {
		memcpy(name, in->data, sizeof(name) - 1);
		if (in->head.value == SYSFS_FILE_UIO)
			what = SYSFS_FILE_UIO;
		else if (in->head.value == SYSFS_FILE_BAR && in->head.arg[0] < 6)
			what = SYSFS_FILE_BAR;
		*bar = (unsigned)in->head.arg[0];
	}
	line_put(guest, line, broken);
	*device = name[0] ? uapi_core_now(core, name) : NULL;
	return what;
}

/* ---- the machine ---- */

int guest_take_device(const struct join_packet *in, unsigned index, struct uapi_device *out)
{
	if (in->head.len < (index + 1) * sizeof(*out))
		return -EIO;
	memcpy(out, in->data + index * sizeof(*out), sizeof(*out));
	if ((out->config_size != PCI_CONFIG_SIZE && out->config_size != PCI_EXT_CONFIG_SIZE) ||
	    !memchr(out->name, 0, sizeof(out->name)) || !memchr(out->pf, 0, sizeof(out->pf)) ||
	    !memchr(out->own_driver, 0, sizeof(out->own_driver)) ||
	    strspn(out->name, "0123456789abcdef:.") != strlen(out->name) || !out->name[0])
		return -EIO;
	return 0;
}

int guest_list_on(struct line *line, unsigned from, struct uapi_device *out, unsigned max,
		  unsigned *stamp)
{
	const struct join_head head = {.kind = JOIN_LIST, .arg = {from, max}};
	const struct join_packet *in = &line->in;
	int n;

	if (line_call(line, NULL, &head, NULL, 0, NULL, 0))
		return -EPIPE;
	if (in->head.value < 0 || in->head.value > max)
		return -EIO;
	n = (int)in->head.value;
	*stamp = (unsigned)in->head.arg[0];
	for (int i = 0; i < n; i++)
		if (guest_take_device(in, (unsigned)i, &out[i]))
			return -EIO;
	return n;
}

int guest_list(struct uapi_core *core, unsigned from, struct uapi_device *out, unsigned max,
	       unsigned *stamp)
{
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	int n;

	if (!line)
		return -EIO;
	n = guest_list_on(line, from, out, max, stamp);
	line_put(guest, line, n == -EPIPE);
	return n == -EPIPE ? -EIO : n;
}

int guest_describe(struct uapi_core *core, const char *name, struct uapi_device *out)
{
	const struct join_head head = {.kind = JOIN_DESCRIBE};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	bool broken;
	int ret;

	if (!line)
		return -EIO;
	broken = line_call(line, NULL, &head, name, strlen(name), NULL, 0);
	ret = broken ? -EIO : guest_result(line->in.head.value);
	if (!ret)
		ret = guest_take_device(&line->in, 0, out);
	line_put(guest, line, broken);
	return ret;
}

bool guest_hw_config(struct uapi_core *core, const struct uapi_device *dev, uint8_t *bytes,
		     bool wait)
{
	const struct join_head head = {.kind = JOIN_CONFIG, .arg = {wait}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	bool busy;

	if (!line)
		return true;
	if (line_call(line, NULL, &head, dev->name, strlen(dev->name), NULL, 0)) {
		line_put(guest, line, true);
		return true;
	}
	busy = !line->in.head.value;
	if (line->in.head.value == 1 && line->in.head.len == PCI_EXT_CONFIG_SIZE)
		memcpy(bytes, line->in.data, PCI_EXT_CONFIG_SIZE);
	line_put(guest, line, false);
	return !busy;
}

int guest_sysfs_serve(struct uapi_core *core, int sock, int notify, const struct sysfs_link *links,
		      unsigned nr)
{
	const int fds[2] = {sock, notify};
	const struct join_head head = {.kind = JOIN_SYSFS, .arg = {getegid()}};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	char *data = malloc(JOIN_DATA);
	size_t len = 0;
	int ret = -ENOMEM;

	/* What does not fit is left out. */
	for (unsigned i = 0; data && i < nr; i++) {
		size_t name = strlen(links[i].name) + 1, target = strlen(links[i].target) + 1;

		if (name + target > JOIN_DATA - len)
			break;
		memcpy(data + len, links[i].name, name);
		memcpy(data + len + name, links[i].target, target);
		len += name + target;
	}
	if (line && data) {
		bool broken = line_call(line, NULL, &head, data, len, fds, 2);

		ret = broken ? -EIO : guest_result(line->in.head.value);
		if (ret > 0) {
			atomic_store(&guest->sysfs, (uint32_t)ret);
			ret = 0;
		}
		line_put(guest, line, broken);
	} else if (line) {
		line_put(guest, line, false);
	}
	free(data);
	close(sock);
	close(notify);
	return ret;
}

#define SNAPSHOT_MAX (64u << 20)

int guest_snapshot(struct uapi_core *core, uint8_t **out, size_t *len)
{
	struct join_head head = {.kind = JOIN_SNAPSHOT};
	struct guest *guest = (struct guest *)core;
	struct line *line = line_take(guest);
	uint8_t *data = NULL;
	size_t size = 0, got = 0;
	bool broken = false;
	int ret = 0;

	if (!line)
		return -EIO;
	while (!ret && (!data || got < size)) {
		const struct join_packet *in = &line->in;

		head.arg[0] = got;
		broken = line_call(line, NULL, &head, NULL, 0, NULL, 0) != 0;
		if (broken || in->head.value > SNAPSHOT_MAX) {
			ret = -EIO;
		} else if (in->head.value < 0) {
			ret = in->head.value < -4095 ? -EIO : (int)in->head.value;
		} else if (!data) {
			size = (size_t)in->head.value;
			data = malloc(size + 1);
			ret = data ? 0 : -ENOMEM;
		}
		/* Always something, and never more than is wanted. */
		if (!ret && (!in->head.len || in->head.len > size - got))
			ret = -EIO;
		if (ret)
			break;
		memcpy(data + got, in->data, in->head.len);
		got += in->head.len;
	}
	line_put(guest, line, broken);
	if (ret) {
		free(data);
		return ret;
	}
	*out = data;
	*len = size;
	return 0;
}
