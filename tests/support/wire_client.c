/* SPDX-License-Identifier: BSD-3-Clause */
#include "support/send_fds.h"
#include "support/wire_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONFIG 7u

static const char offer[] = "{\"capabilities\":{\"max_msg_fds\":64,\"max_data_xfer_size\":1048576,"
			    "\"pgsizes\":4096,\"max_dma_maps\":65535,\"write_multiple\":true%s}}";

/* ---- connections ----------------------------------------------------------------------------- */

int wire_connect(struct wire *w, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	memset(w, 0, sizeof(*w));
	w->fd = w->twin = -1;
	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	w->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->fd < 0)
		return -errno;
	if (connect(w->fd, (struct sockaddr *)&addr, sizeof(addr))) {
		int err = -errno;

		wire_close(w);
		return err;
	}
	return 0;
}

/* The number behind "name": in the JSON text @json. */
static uint64_t number(const char *json, const char *name, uint64_t otherwise)
{
	char key[64];
	const char *p;

	snprintf(key, sizeof(key), "\"%s\"", name);
	p = strstr(json, key);
	if (!p)
		return otherwise;
	p += strlen(key);
	p += strspn(p, " \t\n:");
	return *p >= '0' && *p <= '9' ? strtoull(p, NULL, 10) : !strncmp(p, "true", 4);
}

int wire_version(struct wire *w, unsigned minor, const char *json)
{
	size_t len = json ? strlen(json) + 1 : 0;
	struct {
		uint16_t major, minor;
	} version = {0, (uint16_t)minor};
	uint8_t *payload = malloc(sizeof(version) + len);
	struct wire_message answer;
	const char *text;
	long rc;

	if (!payload)
		return -ENOMEM;
	memcpy(payload, &version, sizeof(version));
	if (len)
		memcpy(payload + sizeof(version), json, len);
	rc = wire_call(w, WIRE_VERSION, payload, sizeof(version) + len, NULL, 0, &answer);
	free(payload);
	if (rc < 0)
		return (int)rc;
	if (rc < 4) {
		wire_drop(&answer);
		return -EPROTO;
	}
	memcpy(&version, answer.data, sizeof(version));
	text = (const char *)answer.data + sizeof(version);
	w->minor = version.minor;
	w->max_fds = (unsigned)number(text, "max_msg_fds", 1);
	w->max_xfer = number(text, "max_data_xfer_size", 1 << 20);
	w->write_multi = number(text, "write_multiple", 0);
	if (number(text, "supported", 0)) {
		uint64_t index = number(text, "fd_index", WIRE_MAX_FDS);

		if (index < answer.nfds) {
			w->twin = answer.fds[index];
			answer.fds[index] = -1;
		}
	}
	wire_drop(&answer);
	return version.major ? -EPROTO : 0;
}

int wire_open(struct wire *w, const char *path)
{
	return wire_open_twin(w, path, false);
}

int wire_open_twin(struct wire *w, const char *path, bool twin)
{
	char json[512];
	int rc = wire_connect(w, path);

	if (rc)
		return rc;
	snprintf(json, sizeof(json), offer, twin ? ",\"twin_socket\":{\"supported\":true}" : "");
	rc = wire_version(w, 1, json);
	if (rc)
		wire_close(w);
	return rc;
}

void wire_close(struct wire *w)
{
	if (w->fd >= 0)
		close(w->fd);
	if (w->twin >= 0)
		close(w->twin);
	w->fd = w->twin = -1;
}

/* ---- sending --------------------------------------------------------------------------------- */

int wire_send_bytes(int fd, const void *bytes, size_t n, const int *fds, unsigned nfds)
{
	const uint8_t *p = bytes;

	while (n) {
		struct iovec iov = {(void *)(uintptr_t)p, n};
		ssize_t done = sendmsg_fds(fd, &iov, 1, fds, nfds);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0)
			return -errno;
		p += done;
		n -= (size_t)done;
		nfds = 0;
	}
	return 0;
}

int wire_send_raw(struct wire *w, const struct wire_header *head, const void *data, size_t n,
		  const int *fds, unsigned nfds)
{
	uint8_t *bytes = malloc(sizeof(*head) + n);
	int rc;

	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, head, sizeof(*head));
	if (n)
		memcpy(bytes + sizeof(*head), data, n);
	rc = wire_send_bytes(w->fd, bytes, sizeof(*head) + n, fds, nfds);
	free(bytes);
	return rc;
}

int wire_send(struct wire *w, unsigned command, uint32_t flags, const void *data, size_t n,
	      const int *fds, unsigned nfds)
{
	const struct wire_header head = {
		.id = ++w->id,
		.command = (uint16_t)command,
		.size = (uint32_t)(sizeof(head) + n),
		.flags = flags,
	};

	return wire_send_raw(w, &head, data, n, fds, nfds);
}

/* ---- receiving ------------------------------------------------------------------------------- */

static int wait_readable(int fd, int ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&pfd, 1, ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n ? 0 : -ETIMEDOUT;
}

static int receive_bytes(int fd, void *buf, size_t n, struct wire_message *message, int ms)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(WIRE_MAX_FDS * sizeof(int))];
	} control;
	uint8_t *p = buf;

	while (n) {
		struct iovec iov = {p, n};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = &control,
				     .msg_controllen = sizeof(control)};
		int rc = wait_readable(fd, ms);
		ssize_t got;

		if (rc)
			return rc;
		got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			unsigned count = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			if (c->cmsg_type != SCM_RIGHTS)
				continue;
			for (unsigned i = 0; i < count; i++) {
				int one;

				memcpy(&one, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
				if (message->nfds < WIRE_MAX_FDS)
					message->fds[message->nfds++] = one;
				else
					close(one);
			}
		}
		if (!got)
			return -ECONNRESET;
		p += got;
		n -= (size_t)got;
	}
	return 0;
}

int wire_receive(int fd, struct wire_message *message, int ms)
{
	int rc;

	memset(message, 0, offsetof(struct wire_message, fds));
	message->nfds = 0;
	rc = receive_bytes(fd, &message->head, sizeof(message->head), message, ms);
	if (!rc && (message->head.size < sizeof(message->head) || message->head.size > 64u << 20))
		rc = -EPROTO;
	if (!rc) {
		message->len = message->head.size - sizeof(message->head);
		message->data = calloc(1, message->len + 1);
		rc = message->data ? receive_bytes(fd, message->data, message->len, message,
						   WIRE_PATIENCE)
				   : -ENOMEM;
	}
	if (rc)
		wire_drop(message);
	return rc;
}

void wire_drop(struct wire_message *message)
{
	free(message->data);
	message->data = NULL;
	for (unsigned i = 0; i < message->nfds; i++) {
		if (message->fds[i] >= 0)
			close(message->fds[i]);
	}
	message->nfds = 0;
}

/* One message of either channel. */
static int receive_any(struct wire *w, struct wire_message *message)
{
	struct pollfd pfd[2] = {{.fd = w->fd, .events = POLLIN}, {.fd = w->twin, .events = POLLIN}};
	int n;

	do
		n = poll(pfd, w->twin >= 0 ? 2 : 1, WIRE_PATIENCE);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return n ? -errno : -ETIMEDOUT;
	/* What the main channel has must not wait for a server that keeps the twin open. */
	return wire_receive(pfd[0].revents ? w->fd : w->twin, message, WIRE_PATIENCE);
}

long wire_answer(struct wire *w, uint16_t id, struct wire_message *message)
{
	struct wire_message ours;
	int rc;

	if (!message)
		message = &ours;
	for (;;) {
		rc = receive_any(w, message);
		if (rc)
			return rc;
		if ((message->head.flags & WIRE_TYPE) == WIRE_REPLY && message->head.id == id)
			break;
		if ((message->head.flags & WIRE_TYPE) == WIRE_COMMAND && w->serve)
			w->serve(w, message, w->serve_arg);
		wire_drop(message);
	}
	if (message->head.flags & WIRE_ERROR) {
		rc = message->head.error ? -(int)message->head.error : -EIO;
		wire_drop(message);
		return rc;
	}
	if (message == &ours)
		wire_drop(message);
	return (long)message->len;
}

int wire_serve_one(struct wire *w)
{
	struct wire_message message;
	bool command;
	int rc;

	do {
		rc = receive_any(w, &message);
		if (rc)
			return rc;
		command = (message.head.flags & WIRE_TYPE) == WIRE_COMMAND;
		if (command && w->serve)
			w->serve(w, &message, w->serve_arg);
		wire_drop(&message);
	} while (!command);
	return 0;
}

int wire_until_end(struct wire *w)
{
	struct wire_message message;
	int rc;

	do {
		rc = receive_any(w, &message);
		if (!rc) {
			if ((message.head.flags & WIRE_TYPE) == WIRE_COMMAND && w->serve)
				w->serve(w, &message, w->serve_arg);
			wire_drop(&message);
		}
	} while (!rc);
	return rc == -ETIMEDOUT ? rc : 0;
}

int wire_dma_answer(struct wire *w, const struct wire_message *message, int error, const void *data)
{
	struct wire_header head = message->head;
	struct wire_dma dma;
	uint8_t *bytes;
	size_t n = 0;
	int rc;

	head.flags = WIRE_REPLY | (error ? WIRE_ERROR : 0);
	head.error = (uint32_t)(error < 0 ? -error : error);
	head.size = sizeof(head);
	if (!error) {
		memcpy(&dma, message->data, sizeof(dma));
		n = sizeof(dma) + (head.command == WIRE_DMA_READ ? dma.count : 0);
		head.size += (uint32_t)n;
	}
	bytes = malloc(sizeof(head) + n);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &head, sizeof(head));
	if (!error) {
		memcpy(bytes + sizeof(head), &dma, sizeof(dma));
		if (head.command == WIRE_DMA_READ)
			memcpy(bytes + sizeof(head) + sizeof(dma), data, dma.count);
	}
	rc = wire_send_bytes(w->twin >= 0 ? w->twin : w->fd, bytes, head.size, NULL, 0);
	free(bytes);
	return rc;
}

/* ---- calls ----------------------------------------------------------------------------------- */

long wire_call(struct wire *w, unsigned command, const void *data, size_t n, const int *fds,
	       unsigned nfds, struct wire_message *answer)
{
	int rc = wire_send(w, command, WIRE_COMMAND, data, n, fds, nfds);

	if (rc)
		return rc == -EPIPE ? -ECONNRESET : rc;
	return wire_answer(w, w->id, answer);
}

long wire_ask(struct wire *w, unsigned command, const void *data, size_t n, void *out, size_t room)
{
	struct wire_message answer;
	long rc = wire_call(w, command, data, n, NULL, 0, &answer);

	if (rc < 0)
		return rc;
	memcpy(out, answer.data, answer.len < room ? answer.len : room);
	wire_drop(&answer);
	return 0;
}

long wire_read(struct wire *w, unsigned region, uint64_t offset, void *data, uint32_t count)
{
	struct wire_access access = {.offset = offset, .region = region, .count = count};
	struct wire_message answer;
	long rc = wire_call(w, WIRE_REGION_READ, &access, sizeof(access), NULL, 0, &answer);

	if (rc < 0)
		return rc;
	if (rc >= (long)sizeof(access))
		memcpy(&access, answer.data, sizeof(access));
	if (rc < (long)sizeof(access) || rc != (long)sizeof(access) + (long)access.count ||
	    access.count > count || access.region != region || access.offset != offset) {
		wire_drop(&answer);
		return -EPROTO;
	}
	memcpy(data, answer.data + sizeof(access), access.count);
	wire_drop(&answer);
	return (long)access.count;
}

static uint8_t *write_payload(unsigned region, uint64_t offset, const void *data, uint32_t count)
{
	const struct wire_access access = {.offset = offset, .region = region, .count = count};
	uint8_t *bytes = malloc(sizeof(access) + count);

	if (bytes) {
		memcpy(bytes, &access, sizeof(access));
		if (count)
			memcpy(bytes + sizeof(access), data, count);
	}
	return bytes;
}

long wire_write(struct wire *w, unsigned region, uint64_t offset, const void *data, uint32_t count)
{
	uint8_t *bytes = write_payload(region, offset, data, count);
	struct wire_access access;
	struct wire_message answer;
	long rc;

	if (!bytes)
		return -ENOMEM;
	rc = wire_call(w, WIRE_REGION_WRITE, bytes, sizeof(access) + count, NULL, 0, &answer);
	free(bytes);
	if (rc < 0)
		return rc;
	if (rc != (long)sizeof(access)) {
		wire_drop(&answer);
		return -EPROTO;
	}
	memcpy(&access, answer.data, sizeof(access));
	wire_drop(&answer);
	return access.region != region || access.offset != offset || access.count > count
		       ? -EPROTO
		       : (long)access.count;
}

int wire_post(struct wire *w, unsigned region, uint64_t offset, const void *data, uint32_t count)
{
	uint8_t *bytes = write_payload(region, offset, data, count);
	int rc;

	if (!bytes)
		return -ENOMEM;
	rc = wire_send(w, WIRE_REGION_WRITE, WIRE_NO_REPLY, bytes,
		       sizeof(struct wire_access) + count, NULL, 0);
	free(bytes);
	return rc;
}

long wire_map(struct wire *w, uint64_t address, uint64_t size, int fd, uint64_t offset)
{
	const struct wire_map map = {
		.argsz = sizeof(map),
		.flags = 3,
		.offset = offset,
		.address = address,
		.size = size,
	};
	long rc = wire_call(w, WIRE_DMA_MAP, &map, sizeof(map), &fd, fd >= 0, NULL);

	return rc > 0 ? -EPROTO : rc;
}

long wire_unmap(struct wire *w, uint64_t address, uint64_t size, uint32_t flags, uint64_t *unmapped)
{
	struct wire_unmap unmap = {
		.argsz = sizeof(unmap),
		.flags = flags,
		.address = address,
		.size = size,
	};
	struct wire_message answer;
	long rc = wire_call(w, WIRE_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, &answer);

	if (rc < 0)
		return rc;
	if (rc != (long)sizeof(unmap)) {
		wire_drop(&answer);
		return -EPROTO;
	}
	memcpy(&unmap, answer.data, sizeof(unmap));
	wire_drop(&answer);
	if (unmapped)
		*unmapped = unmap.size;
	return 0;
}

long wire_set_irqs(struct wire *w, unsigned index, uint32_t flags, uint32_t start, uint32_t count,
		   const int *fds, unsigned nfds)
{
	const struct wire_irq_set set = {
		.argsz = sizeof(set),
		.flags = flags,
		.index = index,
		.start = start,
		.count = count,
	};
	long rc = wire_call(w, WIRE_SET_IRQS, &set, sizeof(set), fds, nfds, NULL);

	return rc > 0 ? -EPROTO : rc;
}

long wire_reset(struct wire *w)
{
	long rc = wire_call(w, WIRE_RESET, NULL, 0, NULL, 0, NULL);

	return rc > 0 ? -EPROTO : rc;
}

/* ---- NVMe ------------------------------------------------------------------------------------ */

int wire_nvme_enable(struct wire *w, uint64_t address)
{
	const uint64_t queues[2] = {address, address + 4096};
	const uint32_t sizes = 15u << 16 | 15, enable = 4 << 20 | 6 << 16 | 1;
	uint16_t command = 0;
	uint32_t status = 0;
	long rc;

	rc = wire_read(w, CONFIG, 4, &command, 2);
	if (rc < 0)
		return (int)rc;
	command |= 6;
	if ((rc = wire_write(w, CONFIG, 4, &command, 2)) < 0 ||
	    (rc = wire_write(w, 0, 0x24, &sizes, 4)) < 0 ||
	    (rc = wire_write(w, 0, 0x28, &queues[0], 8)) < 0 ||
	    (rc = wire_write(w, 0, 0x30, &queues[1], 8)) < 0 ||
	    (rc = wire_write(w, 0, 0x14, &enable, 4)) < 0)
		return (int)rc;
	do
		rc = wire_read(w, 0, 0x1c, &status, 4);
	while (rc == 4 && !(status & 3));
	return rc < 0 ? (int)rc : status & 1 ? 0 : -EIO;
}

int wire_nvme_ring(struct wire *w, unsigned tail)
{
	uint32_t value = tail;
	long rc = wire_write(w, 0, 0x1000, &value, 4);

	return rc < 0 ? (int)rc : 0;
}
