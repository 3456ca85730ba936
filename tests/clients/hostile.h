/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What programs that mean harm have in common: two NVMe devices, opened by hand and without the
 * helper's doing; threads that may be stuck; pages that do not come.
 */
#ifndef TESTS_CLIENTS_HOSTILE_H
#define TESTS_CLIENTS_HOSTILE_H

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "uapi/helper/trap.h"

#define PAGE          4096ul
#define CONFIG_OFFSET (7ull << 40)
#define IOVA          0x10000ul
#define SECONDS       10 /* after which something counts as stuck */

extern int failures; /* of all files */

#define CHECK(ok)                                                                                  \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			failures++;                                                                \
			printf("FAIL line %d: %s (%s)\n", __LINE__, #ok, strerror(errno));         \
		}                                                                                  \
	} while (0)
#define NEED(ok)                                                                                   \
	do {                                                                                       \
		if (!(ok)) {                                                                       \
			printf("FAIL line %d: %s (%s)\n", __LINE__, #ok, strerror(errno));         \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

struct device {
	int container, group, fd;
	uint64_t bar;
	uint8_t *mem; /* two pages at IOVA */
};

static const char *const names[] = {"0000:01:00.0", "0000:02:00.0"};

static inline void group_path(char path[64], unsigned i)
{
	char link[256], name[64];
	ssize_t n;

	snprintf(name, sizeof(name), "/sys/bus/pci/devices/%s/iommu_group", names[i]);
	n = readlink(name, link, sizeof(link) - 1);
	NEED(n > 0);
	link[n] = '\0';
	snprintf(path, 64, "/dev/vfio/%s", strrchr(link, '/') + 1);
}

static inline int open_group(unsigned i)
{
	char path[64];

	group_path(path, i);
	return open(path, O_RDWR);
}

static inline void open_device(struct device *d, unsigned i)
{
	struct vfio_region_info region = {.argsz = sizeof(region)};
	uint16_t command = 6;

	d->container = open("/dev/vfio/vfio", O_RDWR);
	d->group = open_group(i);
	NEED(d->container >= 0 && d->group >= 0);
	NEED(!ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &d->container));
	NEED(!ioctl(d->container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU));
	d->fd = ioctl(d->group, VFIO_GROUP_GET_DEVICE_FD, names[i]);
	NEED(d->fd >= 0);
	NEED(!ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &region));
	d->bar = region.offset;
	NEED(pwrite(d->fd, &command, 2, CONFIG_OFFSET + 4) == 2);
	d->mem = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	NEED(d->mem != MAP_FAILED);
}

static inline void map_memory(struct device *d)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA,
		.vaddr = (uintptr_t)d->mem,
		.size = 2 * PAGE,
	};

	NEED(!ioctl(d->container, VFIO_IOMMU_MAP_DMA, &map));
}

static inline void write_register(struct device *d, uint64_t off, uint64_t value, unsigned size)
{
	NEED(pwrite(d->fd, &value, size, (off_t)(d->bar + off)) == (ssize_t)size);
}

static inline uint32_t read_register(struct device *d, uint64_t off)
{
	uint32_t value;

	NEED(pread(d->fd, &value, 4, (off_t)(d->bar + off)) == 4);
	return value;
}

/* Enable the controller with its admin queues in the two pages. */
static inline void enable(struct device *d)
{
	map_memory(d);
	write_register(d, 0x24, 15 << 16 | 15, 4);
	write_register(d, 0x28, IOVA, 8);
	write_register(d, 0x30, IOVA + PAGE, 8);
	write_register(d, 0x14, 4 << 20 | 6 << 16 | 1, 4);
	while (!(read_register(d, 0x1c) & 1))
		;
}

/* Runs @fn in a child: true when it returned true. */
static inline bool child(bool (*fn)(void *arg), void *arg)
{
	pid_t pid = fork();
	int status;

	NEED(pid >= 0);
	if (!pid)
		_exit(!fn(arg));
	NEED(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

/* ---- being stuck ---- */

struct attempt {
	void (*fn)(void *arg);
	void *arg;
	atomic_bool done;
};

static inline void *attempt_main(void *arg)
{
	struct attempt *a = arg;

	a->fn(a->arg);
	atomic_store(&a->done, true);
	return NULL;
}

static inline pthread_t start(struct attempt *a, void (*fn)(void *arg), void *arg)
{
	pthread_t thread;

	*a = (struct attempt){fn, arg, false};
	NEED(!pthread_create(&thread, NULL, attempt_main, a));
	return thread;
}

static inline bool ends(struct attempt *a)
{
	for (unsigned i = 0; i < SECONDS * 200 && !atomic_load(&a->done); i++)
		usleep(5000);
	return atomic_load(&a->done);
}

/* Pages of which the first access waits, whoever makes it, until release_page(). */
static inline int stall_pages(void *addr, size_t len)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {
		.range = {(uintptr_t)addr, len},
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &reg)) {
		printf("no userfaultfd: %s\n", strerror(errno));
		exit(77);
	}
	return fd;
}

static inline void release_page(int fd, void *addr)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)addr, PAGE}};

	if (ioctl(fd, UFFDIO_ZEROPAGE, &zero))
		CHECK(errno == EEXIST);
}

/* A store as the helper sends it, with any key. */
static inline long trap_store(struct device *d, uint64_t key, uint64_t value)
{
	return syscall(SYS_ioctl, -1, UVFIO_TRAP_STORE | 4, d->bar + 0x24, value, key);
}

/* hostile_memory.c */
void memory_held_up(void);
/* hostile_keys.c */
void keys_of_files(void);
void lying_registers(void);

#endif
