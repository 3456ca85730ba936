// SPDX-License-Identifier: BSD-3-Clause
/*
 * VFIO's system calls as vfio-user messages.
 *
 * One connection stands for container, group and device together, so their descriptors are copies
 * of one socket.  An offset in the device file is index << 40, whatever the protocol's `offset`
 * says: that one belongs to the region's own file.
 *
 * Memory is handed over by descriptor: a memfd of ours stands for whatever a case maps.  An address
 * that is not on a page's begin becomes such an offset in the file; an address without memory
 * becomes a descriptor without memory, so that the order of checks can be asked.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include "wire_private.h"

#define AREAS 8

struct region {
	int fd; /* -1: cannot be mapped */
	uint64_t offset, size;
	unsigned nr_areas; /* 0: all of it */
	struct {
		uint64_t offset, size;
	} areas[AREAS];
};

/* The case in progress and its connection: a process has one of each. */
static const char *socket_path;
static struct t *current;
static struct wire conn = {.fd = -1, .twin = -1};
static ino_t conn_inode;
static struct region regions[VFIO_PCI_NUM_REGIONS + 1];
static bool regions_known; /* of this connection: the files of another one are dead */
static int memory = -1, no_memory = -1;

int __real_ioctl(int fd, unsigned long request, void *arg);
ssize_t __real_pread64(int fd, void *buf, size_t count, off_t offset);
ssize_t __real_pwrite64(int fd, const void *buf, size_t count, off_t offset);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __real_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
void *__real_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

int __wrap_ioctl(int fd, unsigned long request, void *arg);
ssize_t __wrap_pread64(int fd, void *buf, size_t count, off_t offset);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t count, off_t offset);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int count, off_t offset);
ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset);
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset);

void not_applicable(const char *reason)
{
	if (current) {
		snprintf(current->out->skipped, sizeof(current->out->skipped), "%s", reason);
		current->out->not_applicable = current->out->done = true;
		_exit(0);
	}
	fprintf(stderr, "rules: %s\n", reason);
	exit(2);
}

/* ---- the connection -------------------------------------------------------------------------- */

void wire_use(const char *path)
{
	socket_path = path;
	for (size_t i = 0; i < ARRAY_LEN(regions); i++)
		regions[i].fd = -1;
}

bool wire_used(void)
{
	return socket_path;
}

static bool ours(int fd)
{
	struct stat st;

	return conn_inode && !fstat(fd, &st) && S_ISSOCK(st.st_mode) && st.st_ino == conn_inode;
}

int wire_learn(void)
{
	struct stat st;
	int rc = wire_open(&conn, socket_path);

	if (rc)
		return rc;
	if (fstat(conn.fd, &st))
		return -errno;
	conn_inode = st.st_ino;
	regions_known = false;
	return conn.fd;
}

void wire_open_all(struct t *t, enum setup setup)
{
	current = t;
	if (setup == OPEN_NOTHING)
		return;
	if (setup == OPEN_TYPE1)
		not_applicable("unmapping is that of type 1 version 2");
	if (setup < OPEN_TYPE1)
		not_applicable(NO_GROUPS);
	must(t, "connect", wire_learn());
	t->container = dup(conn.fd);
	t->group = dup(conn.fd);
	if (setup == OPEN_DEVICE)
		t->dev = conn.fd;
	else
		close(conn.fd);
	conn.fd = t->container;
}

/* The descriptor that a call came in by is the one to use: others may be closed by now. */
static struct wire *on(int fd)
{
	conn.fd = fd;
	return &conn;
}

struct wire *wire_of_case(void)
{
	return on(current->dev);
}

/* ---- the caller's memory, which may not be there ----------------------------------------------
 */

static bool peek(void *dst, const void *src, size_t n)
{
	while (n) {
		size_t part = PAGE - ((uintptr_t)src & (PAGE - 1));
		struct iovec to, from;

		part = part < n ? part : n;
		to = (struct iovec){dst, part};
		from = (struct iovec){(void *)(uintptr_t)src, part};
		if (process_vm_readv(getpid(), &to, 1, &from, 1, 0) != (ssize_t)part)
			return false;
		dst = (char *)dst + part;
		src = (const char *)src + part;
		n -= part;
	}
	return true;
}

void fetch(void *dst, const void *src, size_t n)
{
	if (!peek(dst, src, n))
		not_applicable(NO_ADDRESSES);
}

void store(void *dst, const void *src, size_t n)
{
	struct iovec from = {(void *)(uintptr_t)src, n}, to = {dst, n};

	if (n && process_vm_writev(getpid(), &from, 1, &to, 1, 0) != (ssize_t)n)
		not_applicable(NO_ADDRESSES);
}

/* ---- what the device is ---------------------------------------------------------------------- */

static long device_info(struct wire *w, void *arg)
{
	struct wire_device_info info = {0};
	struct wire_message answer;
	uint32_t argsz;
	long rc;

	fetch(&argsz, arg, sizeof(argsz));
	if (argsz >= 16) {
		uint8_t whole[16];

		fetch(whole, arg, sizeof(whole));
	}
	info.argsz = argsz;
	rc = wire_call(w, WIRE_GET_INFO, &info, sizeof(info), NULL, 0, &answer);
	if (rc < 0)
		return rc;
	store(arg, answer.data, answer.len < argsz ? answer.len : argsz);
	wire_drop(&answer);
	return 0;
}

static void learn_region(const uint8_t *data, size_t len, struct wire_message *answer)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_region_info info;
	struct region *r;

	memcpy(&info, data, sizeof(info));
	if (info.index >= ARRAY_LEN(regions))
		return;
	r = &regions[info.index];
	if (r->fd >= 0)
		close(r->fd);
	*r = (struct region){.fd = -1, .offset = info.offset, .size = info.size};
	if (!(info.flags & VFIO_REGION_INFO_FLAG_MMAP) || !answer->nfds)
		return;
	r->fd = answer->fds[0];
	answer->fds[0] = -1;
	for (uint32_t at = info.flags & VFIO_REGION_INFO_FLAG_CAPS ? info.cap_offset : 0;
	     at && at + sizeof(*sparse) <= len; at = sparse->header.next) {
		sparse = (const void *)(data + at);
		if (sparse->header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			continue;
		for (uint32_t i = 0; i < sparse->nr_areas && i < AREAS; i++) {
			r->areas[i].offset = sparse->areas[i].offset;
			r->areas[i].size = sparse->areas[i].size;
			r->nr_areas++;
		}
		if (!r->nr_areas)
			r->nr_areas = 1; /* of no size */
		return;
	}
}

static long get_region(struct wire *w, void *arg)
{
	struct wire_region_info info = {0};
	struct vfio_region_info user;
	struct wire_message answer;
	uint64_t offset;
	long rc;

	fetch(&user, arg, sizeof(user));
	info.argsz = user.argsz;
	info.index = user.index;
	rc = wire_call(w, WIRE_GET_REGION_INFO, &info, sizeof(info), NULL, 0, &answer);
	if (rc < 0)
		return rc;
	if (answer.len < sizeof(info)) {
		wire_drop(&answer);
		return -EPROTO;
	}
	learn_region(answer.data, answer.len, &answer);
	offset = (uint64_t)user.index << 40;
	memcpy(answer.data + offsetof(struct vfio_region_info, offset), &offset, sizeof(offset));
	store(arg, answer.data, answer.len < user.argsz ? answer.len : user.argsz);
	wire_drop(&answer);
	return 0;
}

static long get_irq(struct wire *w, void *arg)
{
	struct wire_irq_info info;
	uint32_t argsz;
	long rc;

	fetch(&info, arg, sizeof(info));
	info.flags = info.count = 0;
	argsz = info.argsz;
	rc = wire_ask(w, WIRE_GET_IRQ_INFO, &info, sizeof(info), &info, sizeof(info));
	if (!rc)
		store(arg, &info, argsz < sizeof(info) ? argsz : sizeof(info));
	return rc;
}

/* ---- SET_IRQS -------------------------------------------------------------------------------- */

static int no_file(void)
{
	/* What a closed descriptor is to the kernel: one that no operation works on. */
	return open("/", O_PATH | O_CLOEXEC);
}

/* Eventfds travel beside the message: for all its vectors, or for none of them.  A mixture takes
 * several messages, and so do more than the server takes at once. */
static long set_eventfds(struct wire *w, const struct vfio_irq_set *set, const int32_t *fds)
{
	uint32_t argsz = set->argsz < 20 ? set->argsz : 20;
	long rc = 0;

	for (uint32_t i = 0, n; i < set->count && !rc; i += n) {
		struct wire_irq_set part = {argsz, set->flags, set->index, set->start + i, 0};
		int send[WIRE_MAX_FDS], opened[WIRE_MAX_FDS];
		unsigned nfds = 0, nopened = 0;

		for (n = 0; i + n < set->count && (fds[i + n] < 0) == (fds[i] < 0); n++) {
			if (fds[i] < 0)
				continue;
			if (nfds == w->max_fds || nfds == WIRE_MAX_FDS)
				break;
			if (fcntl(fds[i + n], F_GETFD) < 0)
				send[nfds++] = opened[nopened++] = no_file();
			else
				send[nfds++] = fds[i + n];
		}
		part.count = n;
		rc = wire_call(w, WIRE_SET_IRQS, &part, sizeof(part), send, nfds, NULL);
		while (nopened)
			close(opened[--nopened]);
	}
	return rc;
}

static long set_irqs_message(struct wire *w, void *arg)
{
	struct vfio_irq_set set;
	uint8_t *bytes;
	size_t data;
	long rc;

	fetch(&set, arg, sizeof(set));
	if (set.argsz >= 20 && set.flags & VFIO_IRQ_SET_DATA_EVENTFD && set.count &&
	    set.count <= 4096) {
		size_t need = set.count * sizeof(int32_t);
		int32_t *fds = malloc(need);
		bool given = false;

		if (set.argsz - 20 < need)
			not_applicable("eventfds travel beside the message, which has no size for "
				       "them");
		if (!fds || !peek(fds, (char *)arg + sizeof(set), need))
			not_applicable(NO_ADDRESSES);
		for (uint32_t i = 0; i < set.count; i++) {
			given |= fds[i] >= 0;
			if (set.index >= VFIO_PCI_ERR_IRQ_INDEX && fds[i] < -1)
				not_applicable("a message has descriptors or has none: no other "
					       "negative number");
		}
		if (given) {
			rc = set_eventfds(w, &set, fds);
			free(fds);
			return rc;
		}
		free(fds);
	}
	/* Everything else is as the caller has it: what data there is, and argsz whatever it says.
	 */
	data = set.flags & VFIO_IRQ_SET_DATA_BOOL && set.argsz > 20 ? set.argsz - 20 : 0;
	data = data < set.count ? data : set.count;
	data = data < CHUNK ? data : CHUNK;
	bytes = malloc(sizeof(set) + data);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &set, sizeof(set));
	fetch(bytes + sizeof(set), (char *)arg + sizeof(set), data);
	if (set.flags & VFIO_IRQ_SET_DATA_EVENTFD && set.argsz > 20) {
		uint32_t argsz = 20;

		memcpy(bytes, &argsz, sizeof(argsz));
	}
	rc = wire_call(w, WIRE_SET_IRQS, bytes, sizeof(set) + data, NULL, 0, NULL);
	free(bytes);
	return rc;
}

/* ---- features -------------------------------------------------------------------------------- */

/* DMA logging: what the structure points to comes right behind it, in place of the pointer. */
static long logging_start_message(struct wire *w, uint8_t *arg)
{
	uint8_t bytes[8 + 16 + 300 * 16] = {0};
	struct wire_message answer;
	uint32_t nr, argsz;
	uint64_t ranges;
	size_t len;
	long rc;

	fetch(bytes, arg, 24);
	fetch(&ranges, arg + 24, sizeof(ranges));
	memcpy(&nr, bytes + 16, sizeof(nr));
	len = nr < 300 ? nr * 16 : 0;
	fetch(bytes + 24, (void *)(uintptr_t)ranges, len);
	argsz = (uint32_t)(24 + len);
	memcpy(bytes, &argsz, sizeof(argsz));
	rc = wire_call(w, WIRE_FEATURE, bytes, 24 + len, NULL, 0, &answer);
	if (rc < 0)
		return rc;
	store(arg + 8, answer.data + 8, 8);
	wire_drop(&answer);
	return 0;
}

static long logging_report_message(struct wire *w, uint8_t *arg)
{
	struct wire_message answer;
	uint64_t report[4], bits = 0;
	uint8_t bytes[32];
	uint32_t argsz;
	long rc;

	fetch(bytes, arg, 32);
	fetch(report, arg + 8, sizeof(report));
	if (report[2] && report[1] && report[1] / report[2] < 1 << 20)
		bits = ((report[1] - 1) / report[2] / 64 + 1) * 8;
	argsz = (uint32_t)(32 + bits);
	memcpy(bytes, &argsz, sizeof(argsz));
	rc = wire_call(w, WIRE_FEATURE, bytes, sizeof(bytes), NULL, 0, &answer);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < bits / 8 && answer.len >= 32 + bits; i++) {
		uint64_t word, had;

		memcpy(&word, answer.data + 32 + 8 * i, 8);
		fetch(&had, (uint8_t *)(uintptr_t)report[3] + 8 * i, 8);
		word |= had;
		store((uint8_t *)(uintptr_t)report[3] + 8 * i, &word, 8);
	}
	wire_drop(&answer);
	return 0;
}

static long feature_message(struct wire *w, void *arg)
{
	struct vfio_device_feature head;
	struct wire_message answer;
	uint8_t *bytes;
	size_t data;
	long rc;

	fetch(&head, arg, sizeof(head));
	if ((head.flags & VFIO_DEVICE_FEATURE_MASK) ==
		    VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP &&
	    head.flags & VFIO_DEVICE_FEATURE_SET && !(head.flags & VFIO_DEVICE_FEATURE_PROBE) &&
	    head.argsz >= 16)
		not_applicable("the message has no place for the eventfd");
	if (!(head.flags & VFIO_DEVICE_FEATURE_PROBE)) {
		if ((head.flags & ~VFIO_DEVICE_FEATURE_PROBE) == (VFIO_DEVICE_FEATURE_SET | 6) &&
		    head.argsz >= 32)
			return logging_start_message(w, arg);
		if ((head.flags & ~VFIO_DEVICE_FEATURE_PROBE) == (VFIO_DEVICE_FEATURE_GET | 8) &&
		    head.argsz >= 40)
			return logging_report_message(w, arg);
		if ((head.flags & ~VFIO_DEVICE_FEATURE_PROBE) == (VFIO_DEVICE_FEATURE_SET | 2) &&
		    head.argsz == 16)
			return wire_set_state(w, arg);
	}
	data = head.flags & VFIO_DEVICE_FEATURE_PROBE || head.argsz <= 8 ? 0 : head.argsz - 8;
	data = data < CHUNK ? data : CHUNK;
	bytes = malloc(sizeof(head) + data);
	if (!bytes)
		return -ENOMEM;
	memcpy(bytes, &head, sizeof(head));
	fetch(bytes + sizeof(head), (char *)arg + sizeof(head), data);
	rc = wire_call(w, WIRE_FEATURE, bytes, sizeof(head) + data, NULL, 0, &answer);
	free(bytes);
	if (rc < 0)
		return rc;
	if (head.flags & VFIO_DEVICE_FEATURE_GET)
		store(arg, answer.data, answer.len < head.argsz ? answer.len : head.argsz);
	wire_drop(&answer);
	return 0;
}

/* ---- memory ---------------------------------------------------------------------------------- */

static long map_message(struct wire *w, void *arg)
{
	struct vfio_iommu_type1_dma_map user;
	struct wire_map map;
	char byte;
	int fd;

	fetch(&user, arg, sizeof(user));
	if (user.flags & VFIO_DMA_MAP_FLAG_VADDR)
		not_applicable("memory has no address in the client, so none can be moved");
	if (memory < 0) {
		memory = memfd_create("rules", MFD_CLOEXEC);
		no_memory = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (memory < 0 || no_memory < 0 || ftruncate(memory, 1 << 30))
			return -errno;
	}
	map = (struct wire_map){
		.argsz = user.argsz,
		.flags = user.flags,
		.offset = user.vaddr >> 63 ? user.vaddr : user.vaddr & (PAGE - 1),
		.address = user.iova,
		.size = user.size,
	};
	fd = user.vaddr >> 63 || peek(&byte, (void *)(uintptr_t)(user.vaddr & -PAGE), 1)
		     ? memory
		     : no_memory;
	return wire_call(w, WIRE_DMA_MAP, &map, sizeof(map), &fd, 1, NULL);
}

static long unmap_message(struct wire *w, void *arg)
{
	struct vfio_iommu_type1_dma_unmap user;
	struct wire_unmap unmap;
	struct wire_message answer;
	long rc;

	fetch(&user, arg, sizeof(user));
	if (user.flags & VFIO_DMA_UNMAP_FLAG_VADDR)
		not_applicable("memory has no address in the client, so none can be moved");
	if (user.flags & VFIO_DMA_UNMAP_FLAG_GET_DIRTY_BITMAP)
		not_applicable(NO_DIRTY);
	unmap = (struct wire_unmap){user.argsz, user.flags, user.iova, user.size};
	rc = wire_call(w, WIRE_DMA_UNMAP, &unmap, sizeof(unmap), NULL, 0, &answer);
	if (rc < 0)
		return rc;
	if (answer.len < sizeof(unmap)) {
		wire_drop(&answer);
		return -EPROTO;
	}
	memcpy(&unmap, answer.data, sizeof(unmap));
	wire_drop(&answer);
	user.size = unmap.size;
	store(arg, &user, sizeof(user));
	return 0;
}

/* ---- the system calls ------------------------------------------------------------------------ */

/* The same numbers mean other things on other files (A.1). */
bool wire_can_map(int dev)
{
	/* Misaligned: nothing is mapped. */
	struct vfio_iommu_type1_dma_map map = {.argsz = sizeof(map),
					       .flags = VFIO_DMA_MAP_FLAG_READ,
					       .iova = 0x100001,
					       .size = PAGE};

	return map_message(on(dev), &map) != -ENOTTY;
}

static long container_message(struct wire *w, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_IOMMU_MAP_DMA:
		return map_message(w, arg);
	case VFIO_IOMMU_UNMAP_DMA:
		return unmap_message(w, arg);
	case VFIO_IOMMU_GET_INFO:
		not_applicable("the protocol cannot ask what the address space offers");
	case VFIO_GET_API_VERSION:
	case VFIO_CHECK_EXTENSION:
	case VFIO_SET_IOMMU:
		not_applicable(NO_GROUPS);
	default:
		not_applicable("the protocol has no such command");
	}
}

static long device_message(struct wire *w, unsigned long request, void *arg)
{
	switch (request) {
	case VFIO_DEVICE_GET_INFO:
		return device_info(w, arg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return get_region(w, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq(w, arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs_message(w, arg);
	case VFIO_DEVICE_RESET:
		return wire_reset(w);
	case VFIO_DEVICE_FEATURE:
		return feature_message(w, arg);
	case VFIO_DEVICE_IOEVENTFD:
		not_applicable("the server makes the eventfds: DEVICE_GET_REGION_IO_FDS");
	case VFIO_DEVICE_PCI_HOT_RESET:
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		if (!current) /* facts.c asks whether there is one */
			return -ENOTTY;
		not_applicable("the protocol has no reset of a slot or bus");
	default:
		not_applicable("the protocol has no such command");
	}
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	long rc;

	if (wire_session(fd))
		not_applicable(NO_FILE);
	if (!ours(fd))
		return __real_ioctl(fd, request, arg);
	if (current && fd == current->group)
		not_applicable(NO_GROUPS);
	rc = current && fd == current->container ? container_message(on(fd), request, arg)
						 : device_message(on(fd), request, arg);
	if (rc >= 0)
		return (int)rc;
	errno = (int)-rc;
	return -1;
}

ssize_t __wrap_pread64(int fd, void *buf, size_t count, off_t offset)
{
	const uint64_t at = (uint64_t)offset;
	uint8_t *bytes;
	long rc;

	if (wire_session(fd))
		not_applicable(NO_FILE);
	if (!ours(fd))
		return __real_pread64(fd, buf, count, offset);
	bytes = malloc(count + 1);
	rc = !bytes ? -ENOMEM
		    : wire_read(on(fd), (unsigned)(at >> 40), at & ((1ull << 40) - 1), bytes,
				(uint32_t)count);
	if (rc > 0)
		store(buf, bytes, (size_t)rc);
	free(bytes);
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t count, off_t offset)
{
	const uint64_t at = (uint64_t)offset;
	uint8_t *bytes;
	long rc;

	if (!ours(fd))
		return __real_pwrite64(fd, buf, count, offset);
	bytes = malloc(count + 1);
	if (bytes)
		fetch(bytes, buf, count);
	rc = !bytes ? -ENOMEM
		    : wire_write(on(fd), (unsigned)(at >> 40), at & ((1ull << 40) - 1), bytes,
				 (uint32_t)count);
	free(bytes);
	if (rc >= 0)
		return rc;
	errno = (int)-rc;
	return -1;
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (ours(fd))
		not_applicable("a message has one buffer");
	return __real_preadv64(fd, iov, count, offset);
}

ssize_t __wrap_pwritev64(int fd, const struct iovec *iov, int count, off_t offset)
{
	if (ours(fd))
		not_applicable("a message has one buffer");
	return __real_pwritev64(fd, iov, count, offset);
}

/* The file that came with the region's description; outside of what was offered a client has
 * nothing to map. */
void *__wrap_mmap64(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	const uint64_t index = (uint64_t)offset >> 40, at = (uint64_t)offset & ((1ull << 40) - 1);
	const struct region *r;

	if (fd < 0 || !ours(fd))
		return __real_mmap64(addr, len, prot, flags, fd, offset);
	for (unsigned i = 0; i < ARRAY_LEN(regions) && !regions_known; i++) {
		union {
			struct vfio_region_info info;
			uint8_t room[4096];
		} u = {.info = {.argsz = sizeof(u), .index = i}};

		get_region(on(fd), &u);
	}
	regions_known = true;
	r = index < ARRAY_LEN(regions) ? &regions[index] : NULL;
	if (!r || r->fd < 0 || at + len > r->size)
		not_applicable("what is not offered has no file to map");
	for (unsigned i = 0; i < r->nr_areas; i++) {
		if (at >= r->areas[i].offset && at + len <= r->areas[i].offset + r->areas[i].size)
			return __real_mmap64(addr, len, prot, flags, r->fd,
					     (off_t)(r->offset + at));
	}
	if (r->nr_areas)
		not_applicable("what is not offered has no file to map");
	return __real_mmap64(addr, len, prot, flags, r->fd, (off_t)(r->offset + at));
}
