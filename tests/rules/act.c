// SPDX-License-Identifier: BSD-3-Clause
/* What cases do: open and close, reach registers, ask for interrupts, map memory. */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include "rules.h"
#include "wire.h"

static const char *container_path = "/dev/vfio/vfio";

void use_container(const char *path)
{
	container_path = path;
}

int open_container(void)
{
	if (wire_used())
		not_applicable(NO_GROUPS);
	return open(container_path, O_RDWR | O_CLOEXEC);
}

int open_group(const struct facts *f)
{
	char path[48];

	if (wire_used())
		not_applicable(NO_GROUPS);
	snprintf(path, sizeof(path), "/dev/vfio/%s%u", f->noiommu ? "noiommu-" : "", f->group);
	return open(path, O_RDWR | O_CLOEXEC);
}

long set_container(int group, int container)
{
	return sys(ioctl(group, VFIO_GROUP_SET_CONTAINER, &container));
}

long get_device(int group, const char *name)
{
	return sys(ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name));
}

void open_all(struct t *t, enum setup setup)
{
	if (wire_used()) {
		wire_open_all(t, setup);
		return;
	}
	if (setup < OPEN_GROUP)
		return;
	t->container = open_container();
	must(t, "open-container", sys(t->container));
	t->group = open_group(t->f);
	must(t, "open-group", sys(t->group));
	if (setup < OPEN_MEMBER)
		return;
	must(t, "set-container", set_container(t->group, t->container));
	if (setup < OPEN_TYPE1)
		return;
	must(t, "set-iommu",
	     sys(ioctl(t->container, VFIO_SET_IOMMU,
		       t->f->noiommu         ? VFIO_NOIOMMU_IOMMU
		       : setup == OPEN_TYPE1 ? VFIO_TYPE1_IOMMU
					     : VFIO_TYPE1v2_IOMMU)));
	if (setup < OPEN_DEVICE)
		return;
	t->dev = (int)get_device(t->group, t->f->bdf);
	must(t, "get-device", t->dev);
}

void close_all(struct t *t)
{
	int *fds[] = {&t->dev, &t->group, &t->container};

	for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
		if (*fds[i] >= 0)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

/* ---- config space ---------------------------------------------------------------------------- */

#define CONFIG_OFFSET ((off_t)VFIO_PCI_CONFIG_REGION_INDEX << 40)

long cfg_pread(struct t *t, void *buf, size_t count, unsigned off)
{
	return sys(pread(t->dev, buf, count, CONFIG_OFFSET + off));
}

long cfg_pwrite(struct t *t, const void *buf, size_t count, unsigned off)
{
	return sys(pwrite(t->dev, buf, count, CONFIG_OFFSET + off));
}

uint32_t cfg_read(struct t *t, unsigned off, unsigned size)
{
	uint32_t value = 0;
	long rc = cfg_pread(t, &value, size, off);

	must(t, "config-read", rc == (long)size || rc < 0 ? rc : -EIO);
	return value;
}

void cfg_write(struct t *t, unsigned off, unsigned size, uint32_t value)
{
	long rc = cfg_pwrite(t, &value, size, off);

	must(t, "config-write", rc == (long)size || rc < 0 ? rc : -EIO);
}

uint32_t raw_read(struct t *t, unsigned off, unsigned size)
{
	char path[96];
	uint32_t value = 0;
	int fd;

	if (wire_used())
		not_applicable("a socket does not show the hardware's own config space");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", t->f->bdf);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	must(t, "sysfs-config", sys(fd));
	must(t, "sysfs-config-read", pread(fd, &value, size, off) == (ssize_t)size ? 0 : -EIO);
	close(fd);
	return value;
}

void set_memory(struct t *t, bool on)
{
	uint32_t command = cfg_read(t, 4, 2);

	cfg_write(t, 4, 2, on ? command | 2 : command & ~2u);
}

void set_power(struct t *t, unsigned state)
{
	unsigned pmcsr = t->f->pm + 4;

	cfg_write(t, pmcsr, 2, (cfg_read(t, pmcsr, 2) & ~3u) | state);
}

/* ---- regions --------------------------------------------------------------------------------- */

long region_info(struct t *t, struct vfio_region_info *info, unsigned index)
{
	memset(info, 0, sizeof(*info));
	info->argsz = sizeof(*info);
	info->index = index;
	return sys(ioctl(t->dev, VFIO_DEVICE_GET_REGION_INFO, info));
}

long bar_pread32(struct t *t, uint32_t *value)
{
	*value = 0;
	return sys(pread(t->dev, value, 4,
			 (off_t)(t->f->region_offset[t->f->bar_index] + t->f->register_offset)));
}

void *map_bar(struct t *t, int prot)
{
	const struct facts *f = t->f;
	uint64_t page = f->register_offset & ~(PAGE - 1);
	char *p = mmap(NULL, PAGE, prot, MAP_SHARED, t->dev,
		       (off_t)(f->region_offset[f->bar_index] + page));

	must(t, "map-bar", p == MAP_FAILED ? -errno : 0);
	return p + (f->register_offset & (PAGE - 1));
}

static sigjmp_buf touch_env;

static void touch_failed(int sig)
{
	siglongjmp(touch_env, sig);
}

/* The fault handlers are there for this one access only: any other fault ends the case. */
static int guarded(volatile uint32_t *p, uint32_t *value, bool write)
{
	struct sigaction act = {.sa_handler = touch_failed}, bus, segv;
	int sig;

	sigemptyset(&act.sa_mask);
	sigaction(SIGBUS, &act, &bus);
	sigaction(SIGSEGV, &act, &segv);
	sig = sigsetjmp(touch_env, 1);
	if (!sig) {
		if (write)
			*p = *value;
		else
			*value = *p;
	}
	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &segv, NULL);
	return sig;
}

int touch(const volatile uint32_t *p, uint32_t *value)
{
	uint32_t unused;

	return guarded((volatile uint32_t *)(uintptr_t)p, value ? value : &unused, false);
}

int touch_write(volatile uint32_t *p, uint32_t value)
{
	return guarded(p, &value, true);
}

/* ---- interrupts ------------------------------------------------------------------------------ */

int new_eventfd(struct t *t)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	must(t, "eventfd", sys(fd));
	return fd;
}

uint64_t take(int fd, int ms)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint64_t count = 0;

	if (poll(&pfd, 1, ms) == 1 && read(fd, &count, sizeof(count)) != sizeof(count))
		count = 0;
	return count;
}

bool fired(int fd)
{
	return take(fd, 0) != 0;
}

long set_irqs(struct t *t, uint32_t index, uint32_t flags, uint32_t start, uint32_t count,
	      const int32_t *fds)
{
	struct {
		struct vfio_irq_set head;
		int32_t data[64];
	} set = {.head = {.flags = flags, .index = index, .start = start, .count = count}};
	size_t unit = flags & VFIO_IRQ_SET_DATA_EVENTFD ? 4
		      : flags & VFIO_IRQ_SET_DATA_BOOL  ? 1
							: 0;

	set.head.argsz = (uint32_t)(sizeof(set.head) + unit * count);
	if (fds && count <= 64)
		memcpy(set.data, fds, unit * count);
	return sys(ioctl(t->dev, VFIO_DEVICE_SET_IRQS, &set));
}

long irqs_off(struct t *t, uint32_t index)
{
	return set_irqs(t, index, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
}

long irq_count(struct t *t, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};
	long rc = sys(ioctl(t->dev, VFIO_DEVICE_GET_IRQ_INFO, &info));

	return rc < 0 ? rc : (long)info.count;
}

/* ---- memory ---------------------------------------------------------------------------------- */

void *new_pages(struct t *t, size_t pages)
{
	void *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);

	must(t, "memory", p == MAP_FAILED ? -errno : 0);
	memset(p, 0x5a, pages * PAGE);
	return p;
}

void *at_page_end(struct t *t, size_t size)
{
	char *p = new_pages(t, 2);

	must(t, "guard-page", sys(munmap(p + PAGE, PAGE)));
	memset(p, 0, PAGE);
	return p + PAGE - size;
}

long dma_map(int container, uint64_t iova, const void *vaddr, uint64_t size)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)vaddr,
		.iova = iova,
		.size = size,
	};

	return sys(ioctl(container, VFIO_IOMMU_MAP_DMA, &map));
}

long dma_unmap(int container, uint64_t iova, uint64_t *size)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = *size,
	};
	long rc = sys(ioctl(container, VFIO_IOMMU_UNMAP_DMA, &unmap));

	*size = unmap.size;
	return rc;
}

bool drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return false;
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	return !syscall(SYS_capset, &head, data);
}
