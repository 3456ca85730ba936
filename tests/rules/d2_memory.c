// SPDX-License-Identifier: BSD-3-Clause
/* D.2: MAP_DMA of memory of every kind, and whose locked memory it is. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <linux/capability.h>
#include "facts.h"

#define READ  VFIO_DMA_MAP_FLAG_READ
#define WRITE VFIO_DMA_MAP_FLAG_WRITE
#define HUGE  (2ul << 20)

static long map(int container, uint64_t iova, const void *p, uint64_t size, uint32_t flags)
{
	struct vfio_iommu_type1_dma_map arg = {
		.argsz = sizeof(arg),
		.flags = flags,
		.vaddr = (uintptr_t)p,
		.iova = iova,
		.size = size,
	};

	return sys(ioctl(container, VFIO_IOMMU_MAP_DMA, &arg));
}

/* ---- kinds ----------------------------------------------------------------------------------- */

struct area {
	char *start;
	uint64_t size;
};

/* A kind of memory, and what MAP says of it for reading, for writing, and for both. */
struct kind {
	struct area (*make)(struct t *t);
	long read, write, both;
};

static struct area area(struct t *t, void *p, uint64_t size)
{
	must(t, "memory", p == MAP_FAILED ? -errno : 0);
	return (struct area){p, size};
}

static struct area anonymous(struct t *t, int prot, uint64_t size)
{
	return area(t, mmap(NULL, size, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), size);
}

static struct area read_only(struct t *t)
{
	return anonymous(t, PROT_READ, 2 * PAGE);
}

static struct area write_only(struct t *t)
{
	return anonymous(t, PROT_WRITE, 2 * PAGE);
}

static struct area execute_only(struct t *t)
{
	return anonymous(t, PROT_EXEC, 2 * PAGE);
}

static struct area no_access(struct t *t)
{
	return anonymous(t, PROT_NONE, 2 * PAGE);
}

/* It was writable, and has contents. */
static struct area no_access_any_more(struct t *t)
{
	char *p = new_pages(t, 2);

	must(t, "protect", sys(mprotect(p, 2 * PAGE, PROT_NONE)));
	return (struct area){p, 2 * PAGE};
}

static struct area stack(struct t *t)
{
	volatile char here = 1;

	(void)here;
	return (struct area){(char *)((uintptr_t)&here & ~(PAGE - 1)), PAGE};
}

static char data_pages[3 * PAGE] = {1};

static struct area data(struct t *t)
{
	return (struct area){(char *)(((uintptr_t)data_pages + PAGE) & ~(PAGE - 1)), PAGE};
}

static struct area text(struct t *t)
{
	return (struct area){(char *)((uintptr_t)text & ~(PAGE - 1)), PAGE};
}

static struct area private_file(struct t *t)
{
	int fd = memfd_create("rules", MFD_CLOEXEC);
	struct area a;

	must(t, "memfd", sys(ftruncate(fd, 2 * PAGE)));
	a = area(t, mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0), 2 * PAGE);
	a.start[0] = 1; /* one page is the program's own, the other the file's */
	return a;
}

static struct area system_v(struct t *t)
{
	int id = shmget(IPC_PRIVATE, 2 * PAGE, 0600);
	void *p;

	if (id < 0)
		skip(t, "no System V shared memory");
	p = shmat(id, NULL, 0);
	shmctl(id, IPC_RMID, NULL);
	return area(t, p, 2 * PAGE);
}

static struct area huge(struct t *t)
{
	struct area a = anonymous(t, PROT_READ | PROT_WRITE, 2 * HUGE);

	a.start = (char *)(((uintptr_t)a.start + HUGE - 1) & ~(HUGE - 1));
	a.size = HUGE;
	madvise(a.start, HUGE, MADV_HUGEPAGE);
	a.start[0] = 1;
	return a;
}

/* Four mappings in a row: shared, private and anonymous memory, the last with @prot. */
static struct area row(struct t *t, int prot)
{
	int fd = memfd_create("rules", MFD_CLOEXEC);
	struct area a = anonymous(t, PROT_READ | PROT_WRITE, 8 * PAGE);
	const int rw = PROT_READ | PROT_WRITE;

	must(t, "memfd", sys(ftruncate(fd, 4 * PAGE)));
	area(t, mmap(a.start + 2 * PAGE, 2 * PAGE, rw, MAP_SHARED | MAP_FIXED, fd, 0), 0);
	area(t, mmap(a.start + 4 * PAGE, 2 * PAGE, rw, MAP_PRIVATE | MAP_FIXED, fd, 2 * PAGE), 0);
	must(t, "protect", sys(mprotect(a.start + 6 * PAGE, 2 * PAGE, prot)));
	return a;
}

static struct area several(struct t *t)
{
	return row(t, PROT_READ | PROT_WRITE);
}

static struct area several_read_only(struct t *t)
{
	return row(t, PROT_READ);
}

static struct area several_none(struct t *t)
{
	return row(t, PROT_NONE);
}

/* The mapping of this process with @name, as /proc names it. */
static struct area named(struct t *t, const char *name)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned long start, end;
	char line[512];

	must(t, "maps", maps ? 0 : -errno);
	while (fgets(line, sizeof(line), maps)) {
		if (strstr(line, name) && sscanf(line, "%lx-%lx", &start, &end) == 2) {
			fclose(maps);
			return (struct area){(char *)start, PAGE};
		}
	}
	fclose(maps);
	skip(t, "no such mapping");
}

static struct area vdso(struct t *t)
{
	return named(t, "[vdso]");
}

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static struct area secret(struct t *t)
{
	int fd = (int)syscall(SYS_memfd_secret, 0);
	struct area a;

	if (fd < 0 || ftruncate(fd, 2 * PAGE))
		skip(t, "no secret memory");
	a = area(t, mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), 2 * PAGE);
	a.start[0] = 1;
	return a;
}

static void kind(struct t *t)
{
	const struct kind *k = t->rule->arg;
	const struct area a = k->make(t);
	const uint64_t base = t->f->iova_first;

	see(t, "read", map(t->container, base, a.start, a.size, READ), k->read);
	see(t, "write", map(t->container, base + HUGE, a.start, a.size, WRITE), k->write);
	see(t, "both", map(t->container, base + 2 * HUGE, a.start, a.size, READ | WRITE), k->both);
}

/* Pages of the kernel's own.  An older one takes them for registers, because they are reserved. */
static void kernels_pages(struct t *t)
{
	const struct area a = named(t, "[vvar]");
	const uint64_t base = t->f->iova_first;

	see(t, "read", map(t->container, base, a.start, a.size, READ),
	    since(t, 7, 0) ? -EFAULT : 0);
	see(t, "write", map(t->container, base + HUGE, a.start, a.size, WRITE), -EFAULT);
}

/* ---- locked memory --------------------------------------------------------------------------- */

static void limit(struct t *t, uint64_t bytes)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];
	struct rlimit rlimit = {bytes, bytes};

	must(t, "limit", sys(setrlimit(RLIMIT_MEMLOCK, &rlimit)));
	must(t, "capget", sys(syscall(SYS_capget, &head, caps)));
	caps[0].effective &= ~(1u << CAP_IPC_LOCK);
	must(t, "capset", sys(syscall(SYS_capset, &head, caps)));
}

/* The limit is the process's, not the container's. */
static void two_containers(struct t *t)
{
	int second = open_container(), group = open_group(t->other);
	uint64_t base = t->f->iova_first, size = 4 * PAGE;
	char *p = new_pages(t, 8);

	must(t, "group", sys(group));
	must(t, "second", set_container(group, second));
	must(t, "iommu", sys(ioctl(second, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU)));
	limit(t, 6 * PAGE);
	see(t, "first", map(t->container, base, p, 4 * PAGE, READ | WRITE), 0);
	see(t, "second-more", map(second, base, p, 4 * PAGE, READ | WRITE), -ENOMEM);
	see(t, "second-rest", map(second, base, p, 2 * PAGE, READ | WRITE), 0);
	see(t, "unmap-first", dma_unmap(t->container, base, &size), 0);
	see(t, "second-room", map(second, base + HUGE, p, 4 * PAGE, READ | WRITE), 0);
	see(t, "first-more", map(t->container, base, p, PAGE, READ | WRITE), -ENOMEM);
}

/* A child has an account of its own, and its mappings stay on it. */
static void child(struct t *t)
{
	uint64_t base = t->f->iova_first;
	char *p = new_pages(t, 8);
	int code = -1;
	pid_t pid;

	limit(t, 4 * PAGE);
	must(t, "map", map(t->container, base, p, 4 * PAGE, READ | WRITE));
	pid = fork();
	must(t, "fork", sys(pid));
	if (!pid)
		_exit((int)-map(t->container, base + HUGE, p, 4 * PAGE, READ | WRITE));
	waitpid(pid, &code, 0);
	see(t, "child", WIFEXITED(code) ? -(long)WEXITSTATUS(code) : -EIO, 0);
	see(t, "more", map(t->container, base + 2 * HUGE, p, PAGE, READ | WRITE), -ENOMEM);
}

/* ---- device memory --------------------------------------------------------------------------- */

static uint64_t bar_offset(struct t *t)
{
	return t->f->region_offset[t->f->bar_index] +
	       (t->f->register_offset & ~(uint32_t)(PAGE - 1));
}

/* The page of a register, @prot, at @at if that is not NULL. */
static char *bar_page(struct t *t, char *at, int prot)
{
	char *p = mmap(at, PAGE, prot, MAP_SHARED | (at ? MAP_FIXED : 0), t->dev,
		       (off_t)bar_offset(t));

	must(t, "mmap", p == MAP_FAILED ? -errno : 0);
	return p;
}

/* What mmap was asked for decides. */
static void device_protections(struct t *t)
{
	static const struct {
		int prot;
		const char *read, *write;
		long want_read, want_write;
	} rows[] = {
		{PROT_READ | PROT_WRITE, "rw-read", "rw-write", 0, 0},
		{PROT_READ, "r-read", "r-write", 0, -EFAULT},
		{PROT_NONE, "none-read", "none-write", -EFAULT, -EFAULT},
	};
	const uint64_t base = t->f->iova_first;

	for (unsigned i = 0; i < ARRAY_LEN(rows); i++) {
		const char *p = bar_page(t, NULL, rows[i].prot);

		see(t, rows[i].read, map(t->container, base + 2 * i * HUGE, p, PAGE, READ),
		    rows[i].want_read);
		see(t, rows[i].write, map(t->container, base + (2 * i + 1) * HUGE, p, PAGE, WRITE),
		    rows[i].want_write);
	}
}

/* What is left of a mapping, and where it is now. */
static void device_mapping_changes(struct t *t)
{
	const uint64_t base = t->f->iova_first;
	char *p = bar_page(t, NULL, PROT_READ | PROT_WRITE), *to = new_pages(t, 2);

	must(t, "protect", sys(mprotect(p, PAGE, PROT_READ)));
	see(t, "taken-away", map(t->container, base, p, PAGE, WRITE), -EFAULT);
	must(t, "protect", sys(mprotect(p, PAGE, PROT_READ | PROT_WRITE)));
	see(t, "given-back", map(t->container, base, p, PAGE, WRITE), 0);
	must(t, "moved",
	     mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to ? 0 : -errno);
	see(t, "moved", map(t->container, base + HUGE, to, PAGE, READ | WRITE), 0);
	see(t, "left", map(t->container, base + 2 * HUGE, p, PAGE, READ), -EFAULT);
	/* Memory in its place is memory. */
	must(t, "replaced",
	     mmap(to, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
		  0) == to
		     ? 0
		     : -errno);
	set_memory(t, false);
	see(t, "replaced", map(t->container, base + 2 * HUGE, to, PAGE, READ | WRITE), 0);
}

/* Registers between pages of memory. */
static void device_between_memory(struct t *t)
{
	const uint64_t base = t->f->iova_first;
	uint64_t size = 3 * PAGE;
	char *p = new_pages(t, 3);

	bar_page(t, p + PAGE, PROT_READ | PROT_WRITE);
	see(t, "map", map(t->container, base, p, 3 * PAGE, READ | WRITE), 0);
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, 3 * PAGE);
	bar_page(t, p + PAGE, PROT_READ);
	see(t, "read-only-between", map(t->container, base, p, 3 * PAGE, READ | WRITE), -EFAULT);
	set_memory(t, false);
	see(t, "off-between", map(t->container, base, p, 3 * PAGE, READ), -EFAULT);
}

static void device_child(struct t *t)
{
	char *p = bar_page(t, NULL, PROT_READ | PROT_WRITE);
	uint64_t base = t->f->iova_first, size = PAGE;
	int code = -1;
	pid_t pid = fork();

	must(t, "fork", sys(pid));
	if (!pid)
		_exit((int)-map(t->container, base, p, PAGE, READ | WRITE));
	waitpid(pid, &code, 0);
	see(t, "child", WIFEXITED(code) ? -(long)WEXITSTATUS(code) : -EIO, 0);
	see(t, "unmap", dma_unmap(t->container, base, &size), 0);
	see(t, "size", (long)size, PAGE);
}

/* The mapping keeps the device open. */
static void device_closed(struct t *t)
{
	char *p = bar_page(t, NULL, PROT_READ | PROT_WRITE);

	close(t->dev);
	t->dev = -1;
	see(t, "map", map(t->container, t->f->iova_first, p, PAGE, READ | WRITE), 0);
}

/* Another device's. */
static void device_other(struct t *t)
{
	int group = open_group(t->other), dev;
	uint64_t base = t->f->iova_first;
	struct t other = *t;
	char *p;

	must(t, "group", sys(group));
	must(t, "container", set_container(group, t->container));
	dev = (int)get_device(group, t->other->bdf);
	must(t, "device", dev);
	other.dev = dev;
	other.f = t->other;
	set_memory(&other, true);
	p = bar_page(&other, NULL, PROT_READ | PROT_WRITE);
	see(t, "map", map(t->container, base, p, PAGE, READ | WRITE), 0);
	munmap(p, PAGE);
	close(dev);
	see(t, "still-mapped", map(t->container, base, new_pages(t, 1), PAGE, READ | WRITE),
	    -EEXIST);
}

#define KIND(...)                                                                                  \
	OPEN_TYPE1V2, 0, kind, &(const struct kind)                                                \
	{                                                                                          \
		__VA_ARGS__                                                                        \
	}

static const struct rule rules[] = {
	{"D.2/MAP/memory/read-only", KIND(read_only, 0, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/write-only", KIND(write_only, -EFAULT, 0, 0)},
	{"D.2/MAP/memory/execute-only", KIND(execute_only, -EFAULT, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/no-access", KIND(no_access, -EFAULT, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/no-access-any-more", KIND(no_access_any_more, -EFAULT, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/stack", KIND(stack, 0, 0, 0)},
	{"D.2/MAP/memory/data", KIND(data, 0, 0, 0)},
	{"D.2/MAP/memory/text", KIND(text, 0, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/private-file", KIND(private_file, 0, 0, 0)},
	{"D.2/MAP/memory/system-v", KIND(system_v, 0, 0, 0)},
	{"D.2/MAP/memory/huge-page", KIND(huge, 0, 0, 0)},
	{"D.2/MAP/memory/several", KIND(several, 0, 0, 0)},
	{"D.2/MAP/memory/several-one-read-only", KIND(several_read_only, 0, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/several-one-without", KIND(several_none, -EFAULT, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/vdso", KIND(vdso, 0, -EFAULT, -EFAULT)},
	{"D.2/MAP/memory/kernels-pages", OPEN_TYPE1V2, 0, kernels_pages},
	{"D.2/MAP/memory/secret", KIND(secret, -EFAULT, -EFAULT, -EFAULT)},
	{"D.2/MAP/locked-memory/two-containers", OPEN_TYPE1V2, NEED_OTHER, two_containers},
	{"D.2/MAP/locked-memory/child", OPEN_TYPE1V2, 0, child},
	{"D.2/MAP/device-memory/protections", OPEN_DEVICE, NEED_MMAP, device_protections},
	{"D.2/MAP/device-memory/mapping-changes", OPEN_DEVICE, NEED_MMAP, device_mapping_changes},
	{"D.2/MAP/device-memory/between-memory", OPEN_DEVICE, NEED_MMAP, device_between_memory},
	{"D.2/MAP/device-memory/child", OPEN_DEVICE, NEED_MMAP, device_child},
	{"D.2/MAP/device-memory/device-closed", OPEN_DEVICE, NEED_MMAP, device_closed},
	{"D.2/MAP/device-memory/of-another-device", OPEN_DEVICE, NEED_MMAP | NEED_OTHER,
	 device_other},
};
const struct section section_d2_memory = SECTION("D.2", rules);
