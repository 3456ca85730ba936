/* SPDX-License-Identifier: BSD-3-Clause */
/* A vfio-user server for tests: see driver_server.h. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "driver_server.h"
#include "support/send_fds.h"

#define MAX_MESSAGE (2u << 20)
#define must(x)                                                                                    \
	do {                                                                                       \
		if (!(x)) {                                                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

void server_send(int fd, const void *message, size_t len, const int *fds, unsigned nr_fds)
{
	struct iovec iov = {.iov_base = (void *)message, .iov_len = len};

	while (iov.iov_len) {
		ssize_t n = sendmsg_fds(fd, &iov, 1, fds, nr_fds);

		if (n < 0) /* the client has gone */
			return;
		iov.iov_base = (char *)iov.iov_base + n;
		iov.iov_len -= (size_t)n;
		nr_fds = 0;
	}
}

void server_reply(struct server *s, const struct vfio_user_header *h, const void *payload,
		  size_t len, const int *fds, unsigned nr_fds)
{
	struct vfio_user_header reply = vfio_user_reply(h, (uint32_t)(sizeof(reply) + len), 0);
	uint8_t *m;

	if (h->flags & VFIO_USER_NO_REPLY)
		return;
	m = malloc(sizeof(reply) + len);
	must(m);
	memcpy(m, &reply, sizeof(reply));
	if (len)
		memcpy(m + sizeof(reply), payload, len);
	server_send(s->fd, m, sizeof(reply) + len, fds, nr_fds);
	free(m);
}

void server_error(struct server *s, const struct vfio_user_header *h, uint32_t error)
{
	struct vfio_user_header reply = vfio_user_reply(h, sizeof(reply), error);

	if (!(h->flags & VFIO_USER_NO_REPLY))
		server_send(s->fd, &reply, sizeof(reply), NULL, 0);
}

void server_hang_up(struct server *s)
{
	pthread_mutex_lock(&s->fd_lock);
	if (s->fd >= 0)
		shutdown(s->fd, SHUT_RDWR);
	if (s->twin_fd >= 0)
		shutdown(s->twin_fd, SHUT_RDWR);
	pthread_mutex_unlock(&s->fd_lock);
}

static bool get(int fd, void *buf, size_t len, int *fds, unsigned *nr_fds)
{
	char control[CMSG_SPACE(VFIO_USER_MAX_FDS * sizeof(int))] __attribute__((aligned(8)));

	while (len) {
		struct iovec iov = {.iov_base = buf, .iov_len = len};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control,
				     .msg_controllen = sizeof(control)};
		ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);

		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
			unsigned nr = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			must(nr_fds && *nr_fds + nr <= VFIO_USER_MAX_FDS);
			memcpy(fds + *nr_fds, CMSG_DATA(c), nr * sizeof(int));
			*nr_fds += nr;
		}
		buf = (char *)buf + n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- DMA ---- */

int server_dma(struct server *s, uint64_t iova, void *buf, uint32_t len, bool write)
{
	int fd = s->twin_fd >= 0 ? s->twin_fd : s->fd;
	size_t head = s->narrow ? offsetof(struct vfio_user_dma_access32, data)
				: sizeof(struct vfio_user_dma_access);
	struct vfio_user_header h = {
		.id = 0x1234,
		.command = write ? VFIO_USER_DMA_WRITE : VFIO_USER_DMA_READ,
		.size = (uint32_t)(sizeof(h) + head + (write ? len : 0)),
	};
	uint64_t count = len;
	uint8_t *m;
	int ret = 0;

	for (unsigned i = 0; i < s->nr_maps; i++) {
		struct server_map *map = &s->maps[i];

		if (!map->mem || iova < map->address || iova + len > map->address + map->size)
			continue;
		if (write)
			memcpy(map->mem + (iova - map->address), buf, len);
		else
			memcpy(buf, map->mem + (iova - map->address), len);
		return 0;
	}
	m = malloc(sizeof(h) + head + len);
	must(m);
	memcpy(m, &h, sizeof(h));
	memcpy(m + sizeof(h), &iova, sizeof(iova));
	memcpy(m + sizeof(h) + 8, &count, s->narrow ? 4 : 8);
	if (write)
		memcpy(m + sizeof(h) + head, buf, len);
	server_send(fd, m, h.size, NULL, 0);
	free(m);
	/* Nothing else comes on this socket: the tests that do DMA by message on the main socket
	 * call nothing meanwhile. */
	if (!get(fd, &h, sizeof(h), NULL, NULL))
		return ENOTCONN;
	must(vfio_user_is_reply(&h) && h.id == 0x1234);
	if (h.flags & VFIO_USER_ERROR)
		return (int)h.error;
	must(h.size == sizeof(h) + head + (write ? 0 : len));
	must(get(fd, &iova, 8, NULL, NULL));
	must(get(fd, &count, head - 8, NULL, NULL));
	if (!write && !get(fd, buf, len, NULL, NULL))
		ret = ENOTCONN;
	return ret;
}

static void do_dma(struct server *s, uint64_t iova)
{
	uint8_t data[DMA_LEN];
	uint64_t one = 1;
	uint32_t done = 1;
	int ret = server_dma(s, iova, data, sizeof(data), false);

	for (unsigned i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)~data[i];
	if (!ret)
		ret = server_dma(s, iova + sizeof(data), data, sizeof(data), true);
	if (ret)
		done = 0x80000000u | (uint32_t)ret;
	memcpy(s->bar0 + REG_DONE, &done, sizeof(done));
	if (s->eventfds[0] >= 0)
		must(write(s->eventfds[0], &one, sizeof(one)) == sizeof(one));
}

/* ---- commands ---- */

static void on_version(struct server *s, const struct vfio_user_header *h)
{
	struct {
		struct vfio_user_version v;
		char json[1024];
	} reply = {.v = {.major = 0, .minor = 1}};
	int pair[2], n;

	if (s->version)
		n = snprintf(reply.json, sizeof(reply.json), "%s", s->version);
	else
		n = snprintf(reply.json, sizeof(reply.json),
			     "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":%u,"
			     "\"write_multiple\":%s%s}}",
			     s->max_fds, s->max_xfer, s->write_multi ? "true" : "false",
			     s->twin ? ",\"twin_socket\":{\"supported\":true,\"fd_index\":0}" : "");
	if (!s->twin) {
		server_reply(s, h, &reply, sizeof(reply.v) + (size_t)n + 1, NULL, 0);
		return;
	}
	must(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	pthread_mutex_lock(&s->fd_lock);
	s->twin_fd = pair[0];
	pthread_mutex_unlock(&s->fd_lock);
	server_reply(s, h, &reply, sizeof(reply.v) + (size_t)n + 1, &pair[1], 1);
	close(pair[1]);
}

static void on_region_info(struct server *s, const struct vfio_user_header *h,
			   const uint8_t *payload)
{
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap cap;
		struct vfio_region_sparse_mmap_area area;
	} r = {.info = {.argsz = sizeof(r.info)}};
	size_t len = sizeof(r.info);

	memcpy(&r.info.index, payload + 8, 4);
	if (r.info.index > VFIO_PCI_CONFIG_REGION_INDEX) {
		server_error(s, h, EINVAL);
		return;
	}
	r.info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	if (r.info.index == 0)
		r.info.size = sizeof(s->bar0);
	else if (r.info.index == VFIO_PCI_CONFIG_REGION_INDEX)
		r.info.size = sizeof(s->config);
	if (r.info.index == 2) {
		r.info.size = 8192;
		r.info.flags |= VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS;
		r.info.argsz = len = sizeof(r);
		r.info.cap_offset = sizeof(r.info);
		r.cap.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		r.cap.header.version = 1;
		r.cap.nr_areas = 1;
		r.area.offset = 4096;
		r.area.size = 4096;
		server_reply(s, h, &r, len, &s->bar2_fd, 1);
		return;
	}
	server_reply(s, h, &r, len, NULL, 0);
}

static void write_region(struct server *s, uint64_t offset, uint32_t region, const void *data,
			 uint32_t count)
{
	if (region == 0 && offset + count <= sizeof(s->bar0)) {
		memcpy(s->bar0 + offset, data, count);
		if (offset == REG_DMA) {
			uint64_t iova;

			memcpy(&iova, s->bar0 + REG_DMA, 8);
			do_dma(s, iova);
		}
	} else if (region == 2) {
		must(pwrite(s->bar2_fd, data, count, (off_t)offset) == (ssize_t)count);
	} else if (region == VFIO_PCI_CONFIG_REGION_INDEX && offset == 4) {
		memcpy(s->config + offset, data, count);
	}
}

static void on_access(struct server *s, const struct vfio_user_header *h, uint8_t *payload)
{
	struct vfio_user_region_access a;
	uint64_t size = 0;
	uint8_t *reply;

	memcpy(&a, payload, sizeof(a));
	size = a.region == 0                              ? sizeof(s->bar0)
	       : a.region == 2                            ? 8192
	       : a.region == VFIO_PCI_CONFIG_REGION_INDEX ? sizeof(s->config)
							  : 0;
	must(a.count <= s->max_xfer);
	if (a.offset >= size) {
		server_error(s, h, EINVAL);
		return;
	}
	if (a.count > size - a.offset)
		a.count = (uint32_t)(size - a.offset);
	if (h->command == VFIO_USER_REGION_WRITE) {
		write_region(s, a.offset, a.region, payload + sizeof(a), a.count);
		server_reply(s, h, &a, sizeof(a), NULL, 0);
		return;
	}
	reply = calloc(1, sizeof(a) + a.count);
	must(reply);
	memcpy(reply, &a, sizeof(a));
	if (a.region == 0)
		memcpy(reply + sizeof(a), s->bar0 + a.offset, a.count);
	else if (a.region == 2)
		must(pread(s->bar2_fd, reply + sizeof(a), a.count, (off_t)a.offset) >= 0);
	else
		memcpy(reply + sizeof(a), s->config + a.offset, a.count);
	server_reply(s, h, reply, sizeof(a) + a.count, NULL, 0);
	free(reply);
}

static void on_write_multi(struct server *s, const struct vfio_user_header *h, uint8_t *payload)
{
	struct vfio_user_write w;
	uint64_t nr;

	memcpy(&nr, payload, 8);
	must(h->size == sizeof(*h) + 8 + nr * sizeof(w));
	for (uint64_t i = 0; i < nr; i++) {
		memcpy(&w, payload + 8 + i * sizeof(w), sizeof(w));
		write_region(s, w.offset, w.region, w.data, w.count);
	}
	server_reply(s, h, &nr, 8, NULL, 0);
}

static void on_map(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		   unsigned nr_fds)
{
	struct server_map *map = &s->maps[s->nr_maps];
	struct vfio_user_dma_map m;

	memcpy(&m, payload, sizeof(m));
	must(s->nr_maps < 64 && nr_fds <= 1);
	*map = (struct server_map){.address = m.address,
				   .size = m.size,
				   .offset = m.offset,
				   .flags = m.flags,
				   .has_fd = nr_fds};
	if (nr_fds) {
		map->mem = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
				(off_t)m.offset);
		must(map->mem != MAP_FAILED);
	}
	s->nr_maps++;
	server_reply(s, h, NULL, 0, NULL, 0);
}

static void drop_map(struct server *s, unsigned i)
{
	if (s->maps[i].mem)
		munmap(s->maps[i].mem, s->maps[i].size);
	s->maps[i] = s->maps[--s->nr_maps];
}

static void on_unmap(struct server *s, const struct vfio_user_header *h, uint8_t *payload)
{
	struct vfio_user_dma_unmap m;

	memcpy(&m, payload, sizeof(m));
	for (unsigned i = 0; i < s->nr_maps; i++) {
		if (s->maps[i].address == m.address && s->maps[i].size == m.size) {
			drop_map(s, i);
			server_reply(s, h, &m, sizeof(m), NULL, 0);
			return;
		}
	}
	server_error(s, h, EINVAL);
}

static void on_irqs(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		    unsigned nr_fds)
{
	struct vfio_irq_set set;

	memcpy(&set, payload, sizeof(set));
	must(nr_fds <= s->max_fds);
	if (s->nr_irqs == 128)
		s->nr_irqs = 0;
	s->irqs[s->nr_irqs++] = (struct server_irq_message){.flags = set.flags,
							    .index = set.index,
							    .start = set.start,
							    .count = set.count,
							    .fds = nr_fds};
	for (unsigned i = 0; i < set.count && set.index == VFIO_PCI_MSIX_IRQ_INDEX; i++) {
		unsigned v = set.start + i;

		must(v < 64 && (!nr_fds || nr_fds == set.count));
		if (s->eventfds[v] >= 0)
			close(s->eventfds[v]);
		s->eventfds[v] = -1;
		if (nr_fds) {
			s->eventfds[v] = fds[i];
			fds[i] = -1;
		}
	}
	server_reply(s, h, NULL, 0, NULL, 0);
}

static void on_io_fds(struct server *s, const struct vfio_user_header *h, const uint8_t *payload)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub;
	} r = {.head = {.argsz = sizeof(r), .count = 1}};

	memcpy(&r.head.index, payload + 8, 4);
	if (r.head.index == 0) {
		r.sub = (struct vfio_user_sub_region){.offset = REG_NOTIFY,
						      .size = 4,
						      .flags = VFIO_USER_IOEVENTFD_FLAG_DATAMATCH,
						      .datamatch = 7};
	} else if (r.head.index == 2) {
		r.sub = (struct vfio_user_sub_region){.offset = 4096 + 64, .size = 64};
	} else {
		r.head.argsz = sizeof(r.head);
		r.head.count = 0;
		server_reply(s, h, &r, sizeof(r.head), NULL, 0);
		return;
	}
	server_reply(s, h, &r, sizeof(r), &s->notify_fd, 1);
}

static void on_feature(struct server *s, const struct vfio_user_header *h, uint8_t *payload)
{
	struct {
		struct vfio_device_feature f;
		uint64_t data;
	} __attribute__((packed)) r = {.data = 0x1122334455667788ull};

	memcpy(&r.f, payload, sizeof(r.f));
	if ((r.f.flags & VFIO_DEVICE_FEATURE_MASK) != VFIO_DEVICE_FEATURE_MIGRATION)
		server_error(s, h, ENOTTY);
	else
		server_reply(s, h, &r,
			     r.f.flags & VFIO_DEVICE_FEATURE_PROBE ? sizeof(r.f) : sizeof(r), NULL,
			     0);
}

static void handle(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		   unsigned nr_fds)
{
	struct vfio_user_device_info info = {.argsz = sizeof(info),
					     .flags = VFIO_DEVICE_FLAGS_PCI |
						      VFIO_DEVICE_FLAGS_RESET,
					     .num_regions = 9,
					     .num_irqs = 5};
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .flags = VFIO_IRQ_INFO_EVENTFD};

	switch (h->command) {
	case VFIO_USER_VERSION:
		on_version(s, h);
		break;
	case VFIO_USER_DEVICE_GET_INFO:
		server_reply(s, h, &info, sizeof(info), NULL, 0);
		break;
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		on_region_info(s, h, payload);
		break;
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		memcpy(&irq.index, payload + 8, 4);
		irq.count = irq.index == VFIO_PCI_MSIX_IRQ_INDEX ? 64 : irq.index == 0;
		server_reply(s, h, &irq, sizeof(irq), NULL, 0);
		break;
	case VFIO_USER_REGION_READ:
	case VFIO_USER_REGION_WRITE:
		on_access(s, h, payload);
		break;
	case VFIO_USER_REGION_WRITE_MULTI:
		on_write_multi(s, h, payload);
		break;
	case VFIO_USER_DMA_MAP:
		on_map(s, h, payload, fds, nr_fds);
		break;
	case VFIO_USER_DMA_UNMAP:
		on_unmap(s, h, payload);
		break;
	case VFIO_USER_DEVICE_SET_IRQS:
		on_irqs(s, h, payload, fds, nr_fds);
		break;
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		on_io_fds(s, h, payload);
		break;
	case VFIO_USER_DEVICE_FEATURE:
		on_feature(s, h, payload);
		break;
	case VFIO_USER_DEVICE_RESET:
		memset(s->bar0, 0, sizeof(s->bar0));
		server_reply(s, h, NULL, 0, NULL, 0);
		break;
	default:
		server_error(s, h, EOPNOTSUPP);
	}
}

/* One connection, to its end. */
static void serve(struct server *s, uint8_t *payload)
{
	struct vfio_user_header h;
	int fds[VFIO_USER_MAX_FDS];
	unsigned nr_fds = 0;

	while (get(s->fd, &h, sizeof(h), fds, &nr_fds)) {
		must(h.size >= sizeof(h) && h.size <= MAX_MESSAGE &&
		     h.command < VFIO_USER_COMMANDS);
		must(!vfio_user_is_reply(&h));
		if (!get(s->fd, payload, h.size - sizeof(h), fds, &nr_fds))
			break;
		pthread_mutex_lock(&s->lock);
		s->commands[h.command]++;
		s->posted[h.command] += !!(h.flags & VFIO_USER_NO_REPLY);
		if (!s->hook || !s->hook(s, &h, payload, fds, nr_fds))
			handle(s, &h, payload, fds, nr_fds);
		for (unsigned i = 0; i < nr_fds; i++)
			if (fds[i] >= 0)
				close(fds[i]);
		nr_fds = 0;
		pthread_mutex_unlock(&s->lock);
	}
	pthread_mutex_lock(&s->lock);
	while (s->nr_maps)
		drop_map(s, 0);
	for (unsigned i = 0; i < 64; i++) {
		if (s->eventfds[i] >= 0)
			close(s->eventfds[i]);
		s->eventfds[i] = -1;
	}
	pthread_mutex_unlock(&s->lock);
}

static void *server_main(void *arg)
{
	struct server *s = arg;
	uint8_t *payload = malloc(MAX_MESSAGE);

	must(payload);
	while (!atomic_load(&s->stop)) {
		int fd = accept4(s->listen_fd, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			break;
		pthread_mutex_lock(&s->fd_lock);
		s->fd = fd;
		pthread_mutex_unlock(&s->fd_lock);
		/* server_stop() may have come before that. */
		if (!atomic_load(&s->stop))
			serve(s, payload);
		pthread_mutex_lock(&s->fd_lock);
		close(fd);
		s->fd = -1;
		if (s->twin_fd >= 0)
			close(s->twin_fd);
		s->twin_fd = -1;
		pthread_mutex_unlock(&s->fd_lock);
	}
	free(payload);
	return NULL;
}

void server_init(struct server *s)
{
	char dir[] = "/tmp/uvfio-driver-XXXXXX";

	memset(s, 0, sizeof(*s));
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->fd_lock, NULL);
	must(mkdtemp(dir));
	snprintf(s->path, sizeof(s->path), "%s/sock", dir);
	s->max_fds = 8;
	s->max_xfer = 1u << 20;
	s->write_multi = true;
	s->device_id = 0x1234;
	s->listen_fd = s->fd = s->twin_fd = -1;
	for (unsigned i = 0; i < 64; i++)
		s->eventfds[i] = -1;
	s->notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->bar2_fd = -1;
	must(s->notify_fd >= 0);
}

static void fill_config(struct server *s)
{
	static const uint8_t head[] = {0x34, 0x12, 0, 0, 0, 0, 0x10, 0};

	memset(s->config, 0, sizeof(s->config));
	memcpy(s->config, head, sizeof(head));
	memcpy(s->config + 2, &s->device_id, 2);
	/* PM at 0x40, MSI-X at 0x80, PM again at 0xc0. */
	s->config[0x34] = 0x40;
	s->config[0x40] = 0x01;
	s->config[0x41] = 0x80;
	s->config[0x80] = 0x11;
	s->config[0x81] = 0xc0;
	s->config[0xc0] = 0x01;
}

void server_start(struct server *s)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	fill_config(s);
	memset(s->bar0, 0, sizeof(s->bar0));
	memset(s->commands, 0, sizeof(s->commands));
	memset(s->posted, 0, sizeof(s->posted));
	s->nr_irqs = 0;
	if (s->bar2_fd >= 0)
		close(s->bar2_fd);
	s->bar2_fd = memfd_create("bar2", MFD_CLOEXEC);
	must(s->bar2_fd >= 0 && !ftruncate(s->bar2_fd, 8192));
	memcpy(addr.sun_path, s->path, sizeof(s->path));
	s->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(s->listen_fd >= 0);
	must(!bind(s->listen_fd, (struct sockaddr *)&addr, sizeof(addr)));
	must(!listen(s->listen_fd, 4));
	atomic_store(&s->stop, false);
	must(!pthread_create(&s->thread, NULL, server_main, s));
	s->running = true;
}

void server_stop(struct server *s)
{
	if (!s->running)
		return;
	atomic_store(&s->stop, true);
	unlink(s->path);
	shutdown(s->listen_fd, SHUT_RDWR);
	server_hang_up(s);
	pthread_join(s->thread, NULL);
	close(s->listen_fd);
	s->running = false;
}

void server_fini(struct server *s)
{
	char *slash = strrchr(s->path, '/');

	server_stop(s);
	close(s->notify_fd);
	if (s->bar2_fd >= 0)
		close(s->bar2_fd);
	*slash = '\0';
	rmdir(s->path);
}
