/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program that migrates devices by the kernel's interface (E.3), unmodified:
 *
 *	migrate_client facts|hostile DEVICE DEVICE    TAP
 *	migrate_client save DEVICE >STREAM            with DMA under way
 *	migrate_client load DEVICE <STREAM            and look whether all is there
 *	migrate_client offered DEVICE                 whether it can be migrated at all
 *	migrate_client ends DEVICE TIMES              TAP: processes that end in a session
 *	migrate_client end DEVICE N                   one of them
 *	migrate_client open DEVICE                    no more than that
 *
 * The devices are of the model pcitest.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/pcitest/pcitest_spec.h"
#include "migrate_client.h"
#include "vfio/vfio_uapi.h"

#define SEED    7u
#define SCRATCH 0x0123456789abcdefull
#define DMA_LEN (512u << 10)
#define IOVA    0x10000000ull

static unsigned tests;
static int container = -1;
static char *room;

/* ---- TAP ---- */

void ok(bool good, const char *what)
{
	printf("%s %u - %s\n", good ? "ok" : "not ok", ++tests, what);
	fflush(stdout);
}

void is(long got, long want, const char *what)
{
	ok(got == want, what);
	if (got != want)
		printf("# got %ld, wanted %ld\n", got, want);
	fflush(stdout);
}

void bail(const char *what)
{
	printf("Bail out! %s: %s\n", what, strerror(errno));
	exit(1);
}

int plan(void)
{
	printf("1..%u\n", tests);
	return 0;
}

/* ---- devices ---- */

static int group_of(const char *name)
{
	char path[128], target[256];
	ssize_t n;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", name);
	n = readlink(path, target, sizeof(target) - 1);
	if (n < 0)
		bail(path);
	target[n] = '\0';
	return atoi(strrchr(target, '/') + 1);
}

static void map_room(void)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.size = DMA_LEN,
	};

	room = mmap(NULL, DMA_LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	map.vaddr = (uintptr_t)room;
	if (room == MAP_FAILED || ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		bail("room for DMA");
}

void device_open(struct device *d, const char *name)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = 2};
	uint16_t command = 6; /* memory, bus master */
	char path[64];
	int group;

	snprintf(path, sizeof(path), "/dev/vfio/%d", group_of(name));
	group = open(path, O_RDWR | O_CLOEXEC);
	if (group < 0)
		bail(path);
	if (container < 0)
		container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container))
		bail("SET_CONTAINER");
	if (!room) {
		if (ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
			bail("SET_IOMMU");
		map_room();
	}
	d->name = name;
	d->fd = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	if (d->fd < 0 || ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		bail(name);
	d->memory_size = info.size;
	if (pwrite(d->fd, &command, sizeof(command), (off_t)(7ull << 40) + 4) != sizeof(command))
		bail("COMMAND");
}

static off_t bar(unsigned n, uint64_t offset)
{
	return (off_t)(((uint64_t)n << 40) + offset);
}

/* Where the BARs are, the device says. */
static off_t place(const struct device *d, unsigned n, uint64_t offset)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = n};

	return ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info) ? bar(n, offset)
								: (off_t)(info.offset + offset);
}

uint64_t reg_read(const struct device *d, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	if (pread(d->fd, &value, size, place(d, 0, offset)) != (ssize_t)size)
		bail("reading a register");
	return value;
}

void reg_write(const struct device *d, uint64_t offset, uint64_t value, unsigned size)
{
	if (pwrite(d->fd, &value, size, place(d, 0, offset)) != (ssize_t)size)
		bail("writing a register");
}

void memory_read(const struct device *d, uint64_t offset, void *buf, size_t len)
{
	if (pread(d->fd, buf, len, place(d, 2, offset)) != (ssize_t)len)
		bail("reading the BAR");
}

void memory_write(const struct device *d, uint64_t offset, const void *buf, size_t len)
{
	if (pwrite(d->fd, buf, len, place(d, 2, offset)) != (ssize_t)len)
		bail("writing the BAR");
}

static void pattern(char *p, size_t len, unsigned seed)
{
	uint32_t x = seed * 2654435761u + 1;

	for (size_t i = 0; i < len; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (char)(x >> 24);
	}
}

static char *pattern_of(const struct device *d, unsigned seed)
{
	char *p = malloc(d->memory_size);

	if (!p)
		bail("memory");
	pattern(p, d->memory_size, seed);
	return p;
}

void memory_fill(const struct device *d, unsigned seed)
{
	char *p = pattern_of(d, seed);

	memory_write(d, 0, p, d->memory_size);
	free(p);
}

bool memory_is(const struct device *d, unsigned seed)
{
	char *want = pattern_of(d, seed), *got = pattern_of(d, 0);
	bool same;

	memory_read(d, 0, got, d->memory_size);
	same = !memcmp(want, got, d->memory_size);
	free(want);
	free(got);
	return same;
}

void *dma_room(size_t len, uint64_t *iova)
{
	*iova = IOVA;
	return len <= DMA_LEN ? room : NULL;
}

/* ---- migration ---- */

static int feature(const struct device *d, uint32_t flags, void *data, size_t len)
{
	char buf[64] = {0};
	struct vfio_device_feature *f = (struct vfio_device_feature *)(void *)buf;
	int ret;

	f->argsz = (uint32_t)(sizeof(*f) + len);
	f->flags = flags;
	memcpy(f->data, data, len);
	ret = ioctl(d->fd, VFIO_DEVICE_FEATURE, f) ? -errno : 0;
	memcpy(data, f->data, len);
	return ret;
}

int state_set(const struct device *d, unsigned state)
{
	struct vfio_device_feature_mig_state s = {.device_state = state, .data_fd = 99};
	int ret = feature(d, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s,
			  sizeof(s));

	return ret ? ret : s.data_fd;
}

int state_get(const struct device *d)
{
	struct vfio_device_feature_mig_state s = {0};
	int ret = feature(d, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &s,
			  sizeof(s));

	return ret ? ret : (int)s.device_state;
}

int precopy_info(int fd, uint64_t *initial, uint64_t *dirty)
{
	struct uvfio_precopy_info info = {.argsz = sizeof(info)};
	int ret = ioctl(fd, UVFIO_MIG_GET_PRECOPY_INFO, &info) ? -errno : 0;

	*initial = info.initial_bytes;
	*dirty = info.dirty_bytes;
	return ret;
}

ssize_t get(int fd, void *buf, size_t len)
{
	ssize_t n = read(fd, buf, len);

	return n < 0 ? -errno : n;
}

ssize_t put(int fd, const void *buf, size_t len)
{
	ssize_t n = write(fd, buf, len);

	return n < 0 ? -errno : n;
}

ssize_t get_all(int fd, char **out, size_t *len)
{
	const size_t piece = 1u << 20;
	ssize_t n;

	do {
		*out = realloc(*out, *len + piece);
		if (!*out)
			bail("memory");
		n = get(fd, *out + *len, piece);
		*len += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	return n;
}

bool put_all(int fd, const char *bytes, size_t len)
{
	ssize_t n = 0;

	for (; len; bytes += n, len -= (size_t)n) {
		n = put(fd, bytes, len);
		if (n <= 0)
			return false;
	}
	return true;
}

unsigned open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (dir && readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* ---- from one run to another ---- */

static void start_dma(const struct device *d, uint32_t command)
{
	reg_write(d, PCITEST_DMA_ADDRESS, IOVA, 8);
	reg_write(d, PCITEST_DMA_LENGTH, DMA_LEN, 4);
	reg_write(d, PCITEST_DMA_BUFFER, 0, 4);
	reg_write(d, PCITEST_DMA_COMMAND, command, 4);
}

static int save(struct device *d)
{
	char *bytes = NULL;
	size_t len = 0;
	int fd;

	memory_fill(d, SEED);
	reg_write(d, PCITEST_SCRATCH, SCRATCH, 8);
	fd = state_set(d, PRE_COPY);
	if (fd < 0 || get_all(fd, &bytes, &len) != -ENOMSG)
		return 1;
	pattern(room, DMA_LEN, SEED + 1);
	start_dma(d, PCITEST_CMD_READ); /* it goes on at the target */
	if (state_set(d, STOP_COPY) != -1 || get_all(fd, &bytes, &len) || close(fd))
		return 1;
	return put_all(1, bytes, len) ? 0 : 1;
}

static int load(struct device *d)
{
	char *bytes = NULL, *got = malloc(DMA_LEN), *want = malloc(DMA_LEN);
	size_t len = 0;
	int fd = state_set(d, RESUMING);

	pattern(room, DMA_LEN, SEED + 1); /* as the guest's memory has moved, too */
	if (fd < 0 || get_all(0, &bytes, &len) || !put_all(fd, bytes, len) || close(fd) ||
	    state_set(d, RUNNING) != -1)
		return 1;
	while (reg_read(d, PCITEST_DMA_STATUS, 4) == PCITEST_BUSY)
		;
	memory_read(d, 0, got, DMA_LEN);
	pattern(want, DMA_LEN, SEED + 1);
	ok(!memcmp(got, want, DMA_LEN), "the transfer has ended here");
	is((long)reg_read(d, PCITEST_DMA_COUNT, 4), 1, "once");
	is((long)reg_read(d, PCITEST_SCRATCH, 8), (long)SCRATCH, "registers");
	free(want);
	free(got);
	want = pattern_of(d, SEED);
	got = pattern_of(d, 0);
	memory_read(d, DMA_LEN, got, d->memory_size - DMA_LEN);
	ok(!memcmp(got, want + DMA_LEN, d->memory_size - DMA_LEN), "the rest of the BAR");
	free(bytes);
	free(want);
	free(got);
	return plan();
}

int main(int argc, char **argv)
{
	struct device a, b;

	if (argc < 3)
		return 2;
	if (!strcmp(argv[1], "end") && argc == 4)
		end(argv[2], (unsigned)atoi(argv[3]));
	if (!strcmp(argv[1], "ends") && argc == 4) {
		ends(argv[2], (unsigned)atoi(argv[3]));
		return plan();
	}
	device_open(&a, argv[2]);
	if (!strcmp(argv[1], "open"))
		return 0;
	if (!strcmp(argv[1], "offered"))
		return puts(state_get(&a) == -ENOTTY ? "it cannot be migrated" : "it can") < 0;
	if (!strcmp(argv[1], "save"))
		return save(&a);
	if (!strcmp(argv[1], "load"))
		return load(&a);
	if (argc < 4)
		return 2;
	device_open(&b, argv[3]);
	if (!strcmp(argv[1], "facts"))
		facts(&a, &b);
	else
		hostile(&a, &b);
	return plan();
}
