// SPDX-License-Identifier: BSD-3-Clause
/* D.4: device memory in an IOAS, by the descriptor of an export and never by an address. */
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "d3.h"
#include "d4.h"

#define RW     (READ | WRITE)
#define WINDOW 0xfee00000ull

/* Opened and attached; an export of @pages pages, and a place for it. */
struct d4 {
	struct d3 d;
	int fd;
	uint64_t to;
};

static void open_exported(struct t *t, struct d4 *s, unsigned pages)
{
	open_attached(t, &s->d);
	s->fd = export_pages(t, 0, pages);
	s->to = t->f->iova_first + 0x400000;
}

static long map(struct t *t, const struct d4 *s, uint64_t length, uint32_t flags)
{
	return map_file(t, s->d.ioas, s->fd, 0, length, FIXED | flags, s->to);
}

static long unmap_one(struct t *t, const struct d4 *s, uint64_t length)
{
	uint64_t n = length;
	long rc = unmap(t, s->d.ioas, s->to, &n);

	return rc ? rc : (long)n;
}

/* ---- what is refused ---- */

static void errors(struct t *t)
{
	struct d4 s;

	open_exported(t, &s, 1);
	see(t, "unknown-flag", map(t, &s, PAGE, 8), -EOPNOTSUPP);
	see(t, "no-rights", map(t, &s, PAGE, 0), -EINVAL);
	see(t, "no-ioas", map_file(t, 99, s.fd, 0, PAGE, FIXED | READ, s.to), -ENOENT);
	see(t, "length-0", map(t, &s, 0, READ), -EINVAL);
	see(t, "start-wraps", map_file(t, s.d.ioas, s.fd, -PAGE, 2 * PAGE, FIXED | READ, s.to),
	    -EOVERFLOW);
	see(t, "over-the-end", map(t, &s, 2 * PAGE, READ), -EINVAL);
	see(t, "behind", map_file(t, s.d.ioas, s.fd, PAGE, PAGE, FIXED | READ, s.to), -EINVAL);
	see(t, "start-misaligned", map_file(t, s.d.ioas, s.fd, 1, PAGE - 1, FIXED | READ, s.to),
	    -EINVAL);
	see(t, "iova-misaligned", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, s.to + 1),
	    -EINVAL);
	see(t, "window", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, WINDOW), -EINVAL);
	see(t, "good", map(t, &s, PAGE, RW), 0);
	see(t, "taken", map(t, &s, PAGE, RW), -EEXIST);
	see(t, "chosen", map_file(t, s.d.ioas, s.fd, 0, PAGE, READ, 0), 0);
	see(t, "part", unmap_one(t, &s, PAGE / 2), -ENOENT);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
}

/* What is wrong with the export is found before what is wrong with the place. */
static void order(struct t *t)
{
	const struct export_range two[] = {{0, PAGE}, {0, PAGE}};
	struct d4 s;
	int several;

	open_exported(t, &s, 1);
	several = (int)export_ranges(t, (uint32_t)t->f->bar_index, O_RDWR, 0, two, 2);
	must(t, "several", several);
	see(t, "several-ranges", map_file(t, s.d.ioas, several, 0, PAGE, FIXED | READ, s.to),
	    -EOPNOTSUPP);
	see(t, "several-before-place",
	    map_file(t, s.d.ioas, several, 0, PAGE, FIXED | READ, WINDOW), -EOPNOTSUPP);
	see(t, "end-before-several",
	    map_file(t, s.d.ioas, several, 0, 3 * PAGE, FIXED | READ, WINDOW), -EINVAL);
	set_memory(t, false);
	see(t, "revoked", map(t, &s, PAGE, READ), -ENODEV);
	see(t, "revoked-before-place", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, WINDOW),
	    -ENODEV);
	see(t, "revoked-before-several",
	    map_file(t, s.d.ioas, several, 0, PAGE, FIXED | READ, s.to), -ENODEV);
	see(t, "end-before-revoked", map(t, &s, 2 * PAGE, READ), -EINVAL);
	see(t, "length-0", map(t, &s, 0, READ), -EINVAL);
	see(t, "rights-before-revoked", map(t, &s, PAGE, 0), -EINVAL);
	see(t, "ioas-before-revoked", map_file(t, 99, s.fd, 0, PAGE, FIXED | READ, s.to), -ENOENT);
}

/* Without a domain nothing is aligned, and the export is looked at all the same. */
static void without_domain(struct t *t)
{
	struct d4 s;
	uint32_t bare;
	uint64_t n;

	open_exported(t, &s, 1);
	bare = new_ioas(t);
	see(t, "bytes", map_file(t, bare, s.fd, 3, 5, FIXED | READ, 0x1003), 0);
	see(t, "unmap", (n = 5, unmap(t, bare, 0x1003, &n)), 0);
	see(t, "page", map_file(t, bare, s.fd, 0, PAGE, FIXED | RW, s.to), 0);
	set_memory(t, false);
	see(t, "revoked", map_file(t, bare, s.fd, 0, PAGE, FIXED | READ, 0x1000), -ENODEV);
	/* What it has is revoked: there is nothing that could refuse a device. */
	see(t, "attach", attach(t->dev, &bare), 0);
}

/* The device's own descriptor, and a mapping of it, are no export. */
static void not_by_address(struct t *t)
{
	struct vfio_iommu_type1_dma_map old = {
		.argsz = sizeof(old), .flags = VFIO_DMA_MAP_FLAG_READ, .size = PAGE};
	struct iommufd_vfio_ioas set = {.size = sizeof(set), .op = 1};
	uint32_t *reg;
	void *page;
	struct d4 s;

	open_attached(t, &s.d);
	s.fd = t->dev;
	s.to = t->f->iova_first + 0x400000;
	see(t, "device", map(t, &s, PAGE, READ), -EINVAL);
	reg = map_bar(t, PROT_READ | PROT_WRITE);
	page = (void *)((uintptr_t)reg & ~(PAGE - 1));
	see(t, "address", map_fixed(t, s.d.ioas, s.to, page, PAGE, READ), -EFAULT);
	set.ioas_id = s.d.ioas;
	must(t, "vfio-ioas", call(t->container, IOMMUFD_VFIO_IOAS, &set));
	old.vaddr = (uintptr_t)page;
	old.iova = s.to;
	see(t, "vfio-address", call(t->container, VFIO_IOMMU_MAP_DMA, &old), -EFAULT);
}

/* ---- revocation ---- */

struct cause {
	void (*off)(struct t *t);
	void (*on)(struct t *t); /* NULL: it is over at once */
};

static void memory_off(struct t *t)
{
	set_memory(t, false);
}

static void memory_on(struct t *t)
{
	set_memory(t, true);
}

static void to_d3(struct t *t)
{
	set_power(t, 3);
}

static void to_d0(struct t *t)
{
	set_power(t, 0);
	set_memory(t, true);
}

static void reset(struct t *t)
{
	must(t, "reset", sys(ioctl(t->dev, VFIO_DEVICE_RESET)));
}

static long low_power(struct t *t, uint32_t what)
{
	struct vfio_device_feature f = {.argsz = sizeof(f),
					.flags = VFIO_DEVICE_FEATURE_SET | what};

	return sys(ioctl(t->dev, VFIO_DEVICE_FEATURE, &f));
}

static void sleeps(struct t *t)
{
	must(t, "low-power", low_power(t, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY));
}

static void wakes(struct t *t)
{
	must(t, "awake", low_power(t, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT));
}

static const struct cause memory_cause = {memory_off, memory_on}, power_cause = {to_d3, to_d0},
			  reset_cause = {reset, NULL}, sleep_cause = {sleeps, wakes};

/* It keeps the area; what is mapped anew when it is over is another one. */
static void revoked(struct t *t)
{
	const struct cause *cause = t->rule->arg;
	struct d4 s;

	open_exported(t, &s, 1);
	see(t, "map", map(t, &s, PAGE, RW), 0);
	cause->off(t);
	if (cause->on)
		see(t, "map-again", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, s.to + PAGE),
		    -ENODEV);
	see(t, "area-stays", map_fixed(t, s.d.ioas, s.to, new_pages(t, 1), PAGE, READ), -EEXIST);
	see(t, "copy", copy(t, s.d.ioas, s.to + 8 * PAGE, s.d.ioas, s.to, PAGE, FIXED | READ), 0);
	if (cause->on)
		cause->on(t);
	see(t, "area-still-there", map(t, &s, PAGE, RW), -EEXIST);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
	see(t, "anew", map(t, &s, PAGE, RW), 0);
	see(t, "unmap-anew", unmap_one(t, &s, PAGE), PAGE);
}

static void born_revoked(struct t *t)
{
	struct d4 s;

	open_attached(t, &s.d);
	set_memory(t, false);
	s.fd = export_pages(t, 0, 1);
	s.to = t->f->iova_first + 0x400000;
	see(t, "map", map(t, &s, PAGE, RW), -ENODEV);
	set_memory(t, true);
	see(t, "memory-on", map(t, &s, PAGE, RW), 0);
}

/* When its device is closed nothing brings it back, and what was mapped can be unmapped. */
static void owner_closed(struct t *t)
{
	struct d4 s;
	int again;

	open_exported(t, &s, 1);
	must(t, "map", map(t, &s, PAGE, RW));
	close(t->dev);
	t->dev = -1;
	see(t, "map-again", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, s.to + PAGE),
	    -ENODEV);
	see(t, "end-first", map_file(t, s.d.ioas, s.fd, PAGE, PAGE, FIXED | READ, s.to + PAGE),
	    -EINVAL);
	see(t, "area-stays", map_file(t, s.d.ioas, s.fd, 0, PAGE, FIXED | READ, s.to), -ENODEV);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
	t->dev = again = open_node(t, t->f);
	must(t, "bind", bind_node(again, t->container, NULL));
	see(t, "opened-anew", map(t, &s, PAGE, READ), -ENODEV);
}

/* ---- what may be done with what is mapped ---- */

static void copies(struct t *t)
{
	struct iommufd_change_process process = {.size = sizeof(process)};
	uint32_t other;
	struct d4 s;
	uint64_t n;

	open_exported(t, &s, 2);
	other = new_ioas(t);
	must(t, "map", map(t, &s, 2 * PAGE, READ));
	see(t, "slice", copy(t, other, s.to, s.d.ioas, s.to + PAGE, PAGE, FIXED | READ), 0);
	see(t, "for-writing", copy(t, other, s.to + PAGE, s.d.ioas, s.to, PAGE, FIXED | RW),
	    -EPERM);
	see(t, "change-process", call(t->container, IOMMUFD_CHANGE_PROCESS, &process), -EINVAL);
	see(t, "unmap", unmap_one(t, &s, 2 * PAGE), 2 * PAGE);
	see(t, "copy-stays", (n = PAGE, unmap(t, other, s.to, &n)), 0);
}

/* Other memory can be cut by version 1 of the VFIO interface. */
static void no_cuts(struct t *t)
{
	struct iommufd_vfio_ioas set = {.size = sizeof(set), .op = 1};
	struct vfio_iommu_type1_dma_unmap part = {.argsz = sizeof(part), .size = PAGE};
	struct d4 s;

	open_exported(t, &s, 2);
	set.ioas_id = s.d.ioas;
	must(t, "vfio-ioas", call(t->container, IOMMUFD_VFIO_IOAS, &set));
	must(t, "version-1", sys(ioctl(t->container, VFIO_SET_IOMMU, VFIO_TYPE1_IOMMU)));
	must(t, "map", map(t, &s, 2 * PAGE, RW));
	part.iova = s.to;
	see(t, "part", call(t->container, VFIO_IOMMU_UNMAP_DMA, &part), -EOPNOTSUPP);
	see(t, "size-kept", (long)part.size, PAGE);
	part.size = 2 * PAGE;
	see(t, "whole", call(t->container, VFIO_IOMMU_UNMAP_DMA, &part), 0);
	see(t, "size", (long)part.size, 2 * PAGE);
}

/* A device comes and goes, and so does its page table. */
static void attach_and_detach(struct t *t)
{
	uint32_t pt, other;
	struct d4 s;

	open_exported(t, &s, 1);
	must(t, "map", map(t, &s, PAGE, RW));
	other = new_ioas(t);
	see(t, "detach", detach(t->dev), 0);
	pt = s.d.ioas;
	see(t, "attach", attach(t->dev, &pt), 0);
	see(t, "replace", attach(t->dev, &other), 0);
	set_memory(t, false);
	pt = s.d.ioas;
	see(t, "back-revoked", attach(t->dev, &pt), 0);
	see(t, "detach-revoked", detach(t->dev), 0);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
}

/* ---- the descriptor ---- */

static void descriptors(struct t *t)
{
	int copied;
	struct d4 s;

	open_exported(t, &s, 1);
	copied = dup(s.fd);
	must(t, "map", map(t, &s, PAGE, RW));
	close(s.fd);
	see(t, "closed", map(t, &s, PAGE, RW), -EBADF);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
	s.fd = copied;
	see(t, "duplicate", map(t, &s, PAGE, RW), 0);
	close(copied);
	see(t, "unmap-after-close", unmap_one(t, &s, PAGE), PAGE);
}

static void receive(int sock, int *fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	*fd = -1;
	if (recvmsg(sock, &msg, 0) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
}

static void send_fd(int sock, int fd)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.head = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {(char[]){0}, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.head), &fd, sizeof(int));
	(void)!sendmsg(sock, &msg, 0);
}

/* A child that was there before gets it by a message, and another one inherits it. */
static void other_process(struct t *t)
{
	int pair[2], status = -1;
	struct d4 s;
	pid_t pid;

	must(t, "pair", sys(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
	open_attached(t, &s.d);
	s.to = t->f->iova_first + 0x400000;
	pid = fork();
	must(t, "fork", pid);
	if (!pid) {
		int fd;

		receive(pair[1], &fd);
		_exit(map_file(t, s.d.ioas, fd, 0, PAGE, FIXED | RW, s.to) ? 1 : 0);
	}
	s.fd = export_pages(t, 0, 1);
	send_fd(pair[0], s.fd);
	waitpid(pid, &status, 0);
	see(t, "received", WIFEXITED(status) ? WEXITSTATUS(status) : 99, 0);
	see(t, "mapped-by-it", unmap_one(t, &s, PAGE), PAGE);
	pid = fork();
	must(t, "fork", pid);
	if (!pid)
		_exit(map(t, &s, PAGE, RW) ? 1 : 0);
	waitpid(pid, &status, 0);
	see(t, "inherited", WIFEXITED(status) ? WEXITSTATUS(status) : 99, 0);
	see(t, "unmap", unmap_one(t, &s, PAGE), PAGE);
}

/* It is no matter how many there were. */
static void many(struct t *t)
{
	struct d4 s;
	long wrong = 0;

	open_exported(t, &s, 1);
	for (unsigned i = 0; i < 5000; i++) {
		int fd = export_pages(t, 0, 1);

		close(fd);
	}
	for (unsigned i = 0; i < 100; i++) {
		wrong += map(t, &s, PAGE, RW) != 0;
		set_memory(t, false);
		set_memory(t, true);
		wrong += unmap_one(t, &s, PAGE) != PAGE;
	}
	see(t, "wrong", wrong, 0);
}

#define NEEDS (NEED_IOMMUFD | NEED_BAR)

static const struct rule rules[] = {
	{"D.4/MAP_FILE/errors", OPEN_NOTHING, NEEDS, errors},
	{"D.4/MAP_FILE/order", OPEN_NOTHING, NEEDS, order},
	{"D.4/MAP_FILE/without-domain", OPEN_NOTHING, NEEDS, without_domain},
	{"D.4/MAP_FILE/not-by-address", OPEN_NOTHING, NEEDS | NEED_MMAP, not_by_address},
	{"D.4/revoked/memory-off", OPEN_NOTHING, NEEDS, revoked, &memory_cause},
	{"D.4/revoked/d3", OPEN_NOTHING, NEEDS | NEED_PM, revoked, &power_cause},
	{"D.4/revoked/reset", OPEN_NOTHING, NEEDS | NEED_RESET, revoked, &reset_cause},
	{"D.4/revoked/low-power", OPEN_NOTHING, NEEDS | NEED_PM, revoked, &sleep_cause},
	{"D.4/revoked/born", OPEN_NOTHING, NEEDS, born_revoked},
	{"D.4/revoked/owner-closed", OPEN_NOTHING, NEEDS, owner_closed},
	{"D.4/MAP_FILE/copies", OPEN_NOTHING, NEEDS, copies},
	{"D.4/MAP_FILE/no-cuts", OPEN_NOTHING, NEEDS, no_cuts},
	{"D.4/MAP_FILE/attach-and-detach", OPEN_NOTHING, NEEDS, attach_and_detach},
	{"D.4/MAP_FILE/descriptors", OPEN_NOTHING, NEEDS, descriptors},
	{"D.4/MAP_FILE/other-process", OPEN_NOTHING, NEEDS, other_process},
	{"D.4/MAP_FILE/many", OPEN_NOTHING, NEEDS, many},
};
const struct section section_d4_map_file = SECTION("D.4", rules);
