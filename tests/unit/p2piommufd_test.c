/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exports of BARs and iommufd's mappings of them (D.4): src/vfio/device_export.c, iommufd_ioas.c
 * and what is below.  Which requests are refused is tests/rules'; here is where transfers go, when
 * they stop, and what a client can make us hold.
 */
#include <sys/resource.h>
#include "iommufd_fixture.h"
#include "iommu/peer.h"
#include "vfio/device_memory.h"
#include "vfio/host.h"
#include "vfio/observe.h"
#include "pci/caps.h"
#include "vfio/vfio_uapi.h"

#define AT      0x100000ull
#define PAGE    4096u
#define NR_KEPT 2048u

/* Two devices, which are bound and attached to one IOAS; 0 reaches 1's memory. */
struct two {
	struct fixture f; /* first: its client is who calls */
	struct vfio_device_file *df[2];
	struct vfio_device *dev[2];
	struct probe *probe[2];
	uint32_t ioas, hwpt;
};

/* What the client was given: descriptor 6000 + n, until it "closes" it. */
struct kept {
	struct vfio_device_export *export;
	int fd;
	uint32_t flags;
};
static struct kept kept[NR_KEPT];
static unsigned nr_kept;
static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;

static int give_export(struct vfio_client *client, int fd, uint32_t flags,
		       struct vfio_device_export *export)
{
	pthread_mutex_lock(&kept_lock);
	assert_true(nr_kept < NR_KEPT);
	kept[nr_kept++] = (struct kept){export, fd, flags};
	pthread_mutex_unlock(&kept_lock);
	return 0;
}

static int get_path(struct vfio_client *client, int32_t fd)
{
	char path[32];
	int ret;

	if (fd >= 6000 && fd < 6000 + (int)NR_KEPT)
		fd = kept[fd - 6000].fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ret = open(path, O_PATH | O_CLOEXEC);
	return ret < 0 ? -EBADF : ret;
}

static void give_back(unsigned n)
{
	if (!kept[n].export)
		return;
	vfio_export_put(kept[n].export);
	close(kept[n].fd);
	kept[n].export = NULL;
}

static struct fixture *at(struct two *t, unsigned n)
{
	t->f.df = t->df[n];
	t->f.dev = t->dev[n];
	t->f.probe = t->probe[n];
	return &t->f;
}

static void two_up(struct two *t, const char *initiator, const char *owner)
{
	memset(t, 0, sizeof(*t));
	nr_kept = 0;
	up(&t->f, initiator, owner);
	ops.get_path = get_path;
	ops.give_export = give_export;
	for (unsigned n = 0; n < 2; n++) {
		bind_cdev(&t->f, n, &t->df[n]);
		t->dev[n] = vfio_device_file_device(t->df[n]);
		t->probe[n] = probes[n];
		config_put(at(t, n), PCI_COMMAND, 2, COMMAND_ON);
	}
	t->ioas = t->hwpt = ioas_alloc(&t->f);
	assert_int_equal(attach(&t->f, t->df[0], &t->hwpt), 0);
}

static void two_close(struct two *t, unsigned n)
{
	if (t->df[n])
		vfio_device_release(t->df[n]);
	t->df[n] = NULL;
}

static void two_down(struct two *t)
{
	two_close(t, 0);
	two_close(t, 1);
	t->f.df = NULL;
	for (unsigned i = 0; i < nr_kept; i++)
		give_back(i);
	down(&t->f);
}

/* FEATURE DMA_BUF of device @n: 0 or -errno. */
static int export_of(struct two *t, unsigned n, uint32_t bar, uint64_t offset, uint64_t length)
{
	struct {
		struct vfio_device_feature head;
		struct uvfio_feature_dma_buf request;
		struct uvfio_feature_dma_buf_range range;
	} c = {
		.head = {sizeof(c), VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF},
		.request = {bar, O_RDWR | O_CLOEXEC, 0, 1},
		.range = {offset, length},
	};

	return vfio_device_ioctl(t->df[n], t->f.client, VFIO_DEVICE_FEATURE, (uintptr_t)&c);
}

static int map_export(struct two *t, uint32_t ioas, unsigned which, uint64_t start, uint64_t length,
		      unsigned flags, uint64_t iova)
{
	struct iommufd_map_file m = {.size = sizeof(m),
				     .flags = IOMMUFD_MAP_FIXED | flags,
				     .ioas_id = ioas,
				     .fd = 6000 + (int)which,
				     .start = start,
				     .length = length,
				     .iova = iova};

	return call(&t->f, IOMMUFD_MAP_FILE, &m);
}

#define R  IOMMUFD_MAP_READ
#define RW (IOMMUFD_MAP_READ | IOMMUFD_MAP_WRITE)

/* All of the owner's memory, at AT. */
static void map_memory(struct two *t)
{
	assert_int_equal(export_of(t, 1, 2, 0, 8192), 0);
	assert_int_equal(map_export(t, t->ioas, nr_kept - 1, 0, 8192, RW, AT), 0);
}

static uint32_t commands_done(struct probe *probe)
{
	uint32_t done;

	pthread_mutex_lock(&probe->lock);
	done = probe->done;
	pthread_mutex_unlock(&probe->lock);
	return done;
}

/* A command of device @n, whose messages are done in another's context: its status. */
static int command(struct two *t, unsigned n, uint32_t cmd, uint64_t iova, uint32_t len)
{
	struct fixture *f = at(t, n);
	uint32_t before = commands_done(f->probe);

	bar_put(f, 0, REG_DMA_IOVA, 8, iova);
	bar_put(f, 0, REG_DMA_LEN, 4, len);
	bar_put(f, 0, REG_DMA_CMD, 4, cmd);
	for (unsigned i = 0; commands_done(f->probe) == before; i++) {
		assert_true(i < 1000000);
		for (unsigned k = 0; k < 2; k++)
			if (t->df[k]) /* what was pulled out goes with its last close */
				uvfio_ctx_flush(uvfio_device_ctx(t->probe[k]->dev));
	}
	return -(int)bar_get(f, 0, REG_DMA_STATUS, 4);
}

static enum iommu_fault_reason last_fault(struct vfio_device *dev)
{
	struct vfio_fault_record faults[VFIO_FAULT_RECORDS];
	uint64_t total;
	unsigned n = vfio_device_faults(dev, faults, VFIO_FAULT_RECORDS, &total);

	assert_true(n > 0);
	return faults[n - 1].fault.reason;
}

/* ---- where transfers go ---- */

static void test_transfers(void **state)
{
	uint8_t back[600], *memory;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	assert_int_equal(export_of(&t, 1, 0, 0, PAGE), 0);
	assert_int_equal(map_export(&t, t.ioas, 1, 0, PAGE, RW, AT + 0x10000), 0);
	memory = uvfio_bar_memory(t.probe[1]->dev, 2, 0);
	for (unsigned i = 0; i < sizeof(back); i++)
		t.probe[0]->buf[i] = (uint8_t)(i * 7 + 1);
	memcpy(back, t.probe[0]->buf, sizeof(back));
	/* Over the boundary of a page. */
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + 4000, sizeof(back)), 0);
	assert_memory_equal(memory + 4000, back, sizeof(back));
	memset(t.probe[0]->buf, 0, sizeof(back));
	assert_int_equal(command(&t, 0, CMD_READ, AT + 4000, sizeof(back)), 0);
	assert_memory_equal(t.probe[0]->buf, back, sizeof(back));
	/* A register: one write of its width. */
	memcpy(t.probe[0]->buf, "register", 8);
	t.probe[1]->nr_log = 0;
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + 0x10000 + REG_SCRATCH, 8), 0);
	assert_int_equal(t.probe[1]->nr_log, 1);
	assert_int_equal(t.probe[1]->log[0][0], REG_SCRATCH);
	assert_int_equal(t.probe[1]->log[0][1], 8);
	assert_memory_equal(&(uint64_t){bar_get(at(&t, 1), 0, REG_SCRATCH, 8)}, "register", 8);
	/* The initiator's bus mastering decides, and not the owner's. */
	config_put(at(&t, 1), PCI_COMMAND, 2, COMMAND_ON & ~PCI_COMMAND_MASTER);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	config_put(at(&t, 0), PCI_COMMAND, 2, COMMAND_ON & ~PCI_COMMAND_MASTER);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EPERM);
	two_down(&t);
}

static void test_permission(void **state)
{
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	assert_int_equal(export_of(&t, 1, 2, 0, 8192), 0);
	/* A page of it, whose place in the export is not its place in the mapping. */
	assert_int_equal(map_export(&t, t.ioas, 0, PAGE, PAGE, R, AT), 0);
	memcpy((uint8_t *)uvfio_bar_memory(t.probe[1]->dev, 2, 0) + PAGE, "here", 4);
	assert_int_equal(command(&t, 0, CMD_READ, AT, 4), 0);
	assert_memory_equal(t.probe[0]->buf, "here", 4);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EFAULT);
	assert_int_equal(last_fault(t.dev[0]), IOMMU_FAULT_PERMISSION);
	assert_int_equal(command(&t, 0, CMD_READ, AT + PAGE, 4), -EFAULT);
	assert_int_equal(last_fault(t.dev[0]), IOMMU_FAULT_UNMAPPED);
	two_down(&t);
}

static void test_own_bar(void **state)
{
	struct two t;

	two_up(&t, "probe,memory=on", "probe");
	assert_int_equal(export_of(&t, 0, 2, 0, 8192), 0);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, 8192, RW, AT), 0);
	memcpy(t.probe[0]->buf, "mine", 4);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + 8, 4), 0);
	assert_memory_equal((uint8_t *)uvfio_bar_memory(t.probe[0]->dev, 2, 0) + 8, "mine", 4);
	two_down(&t);
}

/* ---- revocation ---- */

static void memory_off(struct two *t)
{
	config_put(at(t, 1), PCI_COMMAND, 2, PCI_COMMAND_MASTER);
}

static void memory_on(struct two *t)
{
	config_put(at(t, 1), PCI_COMMAND, 2, COMMAND_ON);
}

static void power(struct two *t, unsigned state)
{
	struct fixture *f = at(t, 1);
	unsigned pm = pci_find_cap(vfio_device_func(t->dev[1]), PCI_CAP_ID_PM);

	config_put(f, pm + PCI_PM_CTRL, 2, state);
}

static void to_d3(struct two *t)
{
	power(t, 3);
}

static void to_d0(struct two *t)
{
	power(t, 0);
	memory_on(t);
}

static void reset(struct two *t)
{
	assert_int_equal(dev_ioctl(at(t, 1), VFIO_DEVICE_RESET, NULL), 0);
}

static void flr(struct two *t)
{
	struct fixture *f = at(t, 1);
	unsigned exp = pci_find_cap(vfio_device_func(t->dev[1]), PCI_CAP_ID_EXP);

	config_put(f, exp + PCI_EXP_DEVCTL, 2,
		   config_get(f, exp + PCI_EXP_DEVCTL, 2) | PCI_EXP_DEVCTL_BCR_FLR);
}

static void hot_reset(struct two *t)
{
	struct vfio_pci_hot_reset r = {.argsz = sizeof(r)};

	assert_int_equal(dev_ioctl(at(t, 1), VFIO_DEVICE_PCI_HOT_RESET, &r), 0);
}

static void host_reset(struct two *t)
{
	assert_int_equal(vfio_device_host_reset(t->dev[1]), 0);
}

static void feature(struct two *t, uint32_t what)
{
	struct vfio_device_feature head = {sizeof(head), VFIO_DEVICE_FEATURE_SET | what};

	assert_int_equal(dev_ioctl(at(t, 1), VFIO_DEVICE_FEATURE, &head), 0);
}

static void sleeps(struct two *t)
{
	feature(t, VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY);
}

static void wakes(struct two *t)
{
	feature(t, VFIO_DEVICE_FEATURE_LOW_POWER_EXIT);
}

static const struct cause {
	const char *name;
	void (*off)(struct two *t);
	void (*on)(struct two *t); /* NULL: it is over at once */
} causes[] = {
	{"memory off", memory_off, memory_on},
	{"D3", to_d3, to_d0},
	{"RESET", reset, NULL},
	{"FLR", flr, NULL},
	{"hot reset", hot_reset, NULL},
	{"reset by the host", host_reset, NULL},
	{"low power", sleeps, wakes},
};

static void revoke_by(const struct cause *cause)
{
	uint64_t n;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 64), 0);
	cause->off(&t);
	for (unsigned i = 0; i < 2; i++) {
		/* Also when its memory is back. */
		assert_int_equal(command(&t, 0, CMD_WRITE, AT, 64), -EIO);
		assert_int_equal(last_fault(t.dev[0]), IOMMU_FAULT_REVOKED);
		assert_int_equal(command(&t, 0, CMD_READ, AT, 64), -EIO);
		if (!i && cause->on) {
			assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, R, AT + 0x10000),
					 -ENODEV);
			cause->on(&t);
		}
	}
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, R, AT), -EEXIST);
	/* What is mapped now is in use, though not what was mapped before. */
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, RW, AT + 0x10000), 0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + 0x10000, 64), 0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 64), -EIO);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, &n), 0);
	assert_int_equal(n, 8192);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, 8192, RW, AT), 0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 64), 0);
	two_down(&t);
}

static void test_revoked(void **state)
{
	for (unsigned i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		print_message("%s\n", causes[i].name);
		revoke_by(&causes[i]);
	}
}

/* What was on its way when the memory goes away does not land. */
static void test_in_flight(void **state)
{
	static const uint8_t zeros[8192];
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	memset(t.probe[0]->buf, 0xaa, 8192);
	for (unsigned i = 0; i < 50; i++) {
		uint8_t *memory = uvfio_bar_memory(t.probe[1]->dev, 2, 0), before[8192];
		struct fixture *f = at(&t, 0);

		bar_put(f, 0, REG_DMA_IOVA, 8, AT);
		bar_put(f, 0, REG_DMA_LEN, 4, 8192);
		bar_put(f, 0, REG_DMA_CMD, 4, CMD_WRITE);
		memory_off(&t);
		memcpy(before, memory, sizeof(before));
		for (unsigned k = 0; k < 4; k++)
			uvfio_ctx_flush(uvfio_device_ctx(t.probe[k & 1]->dev));
		assert_memory_equal(memory, before, sizeof(before));
		memory_on(&t);
		memcpy(memory, zeros, sizeof(zeros));
		assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, NULL), 0);
		assert_int_equal(map_export(&t, t.ioas, 0, 0, 8192, RW, AT), 0);
	}
	two_down(&t);
}

static void test_owner_closed(void **state)
{
	uint64_t n;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	two_close(&t, 1);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EIO);
	assert_int_equal(last_fault(t.dev[0]), IOMMU_FAULT_GONE);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, R, AT + 0x10000), -ENODEV);
	/* Opened anew, it is not the same. */
	bind_cdev(&t.f, 1, &t.df[1]);
	config_put(at(&t, 1), PCI_COMMAND, 2, COMMAND_ON);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EIO);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, R, AT + 0x10000), -ENODEV);
	assert_int_equal(export_of(&t, 1, 2, 0, 8192), 0);
	assert_int_equal(map_export(&t, t.ioas, 1, 0, PAGE, R, AT + 0x10000), 0);
	assert_int_equal(command(&t, 0, CMD_READ, AT + 0x10000, 4), 0);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, &n), 0);
	assert_int_equal(n, 8192);
	two_down(&t);
}

static void test_owner_pulled_out(void **state)
{
	struct uvfio_error err;
	uint64_t n;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	assert_int_equal(vfio_machine_remove_device(t.f.machine, "0000:02:00.0",
						    VFIO_REMOVE_SURPRISE, NULL, NULL, &err),
			 0);
	/* It is cut in a thread of the machine's; a reset waits for the end of that. */
	while (config_get(at(&t, 1), 0, 2) != 0xffff)
		sched_yield();
	assert_int_equal(dev_ioctl(at(&t, 1), VFIO_DEVICE_RESET, NULL), -ENOTTY);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EIO);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, R, AT + 0x10000), -ENODEV);
	assert_int_equal(export_of(&t, 1, 2, 0, PAGE), -ENODEV);
	two_close(&t, 1);
	assert_int_equal(command(&t, 0, CMD_READ, AT, 4), -EIO);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, &n), 0);
	assert_int_equal(n, 8192);
	two_down(&t);
}

/* The iommufd, the IOAS and the initiator go in any order; the export goes first. */
static void test_ends(void **state)
{
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	give_back(0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	vfio_iommufd_release(the_iommufd);
	the_iommufd = NULL;
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	two_close(&t, 1);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EIO);
	two_down(&t);
}

/* ---- what iommufd does with it ---- */

static void test_copy(void **state)
{
	struct iommufd_copy c = {.size = sizeof(c),
				 .flags = IOMMUFD_MAP_FIXED | RW,
				 .length = PAGE,
				 .src_iova = AT + PAGE,
				 .dst_iova = AT};
	uint32_t pt;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	memcpy((uint8_t *)uvfio_bar_memory(t.probe[1]->dev, 2, 0) + PAGE, "2nd ", 4);
	c.src_ioas_id = t.ioas;
	c.dst_ioas_id = pt = ioas_alloc(&t.f);
	assert_int_equal(call(&t.f, IOMMUFD_COPY, &c), 0);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, NULL), 0);
	assert_int_equal(attach(&t.f, t.df[0], &pt), 0);
	assert_int_equal(command(&t, 0, CMD_READ, AT, 4), 0);
	assert_memory_equal(t.probe[0]->buf, "2nd ", 4);
	memory_off(&t);
	assert_int_equal(command(&t, 0, CMD_READ, AT, 4), -EIO);
	/* A copy of what is revoked is revoked. */
	c.src_ioas_id = c.dst_ioas_id;
	c.src_iova = AT;
	c.dst_iova = 2 * AT;
	assert_int_equal(call(&t.f, IOMMUFD_COPY, &c), 0);
	memory_on(&t);
	assert_int_equal(command(&t, 0, CMD_READ, AT, 4), -EIO);
	assert_int_equal(command(&t, 0, CMD_READ, 2 * AT, 4), -EIO);
	two_down(&t);
}

static uint64_t no_lock(void *client)
{
	return 0;
}

static void test_not_charged(void **state)
{
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	ops.memory.lock_limit = no_lock;
	assert_int_equal(map_at(&t.f, t.ioas, AT + 0x10000, 0, PAGE), -ENOMEM);
	map_memory(&t);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	two_down(&t);
}

/* What a device has written there is in the log of its page table, by its address. */
static void test_dirty(void **state)
{
	struct iommufd_hwpt_alloc h = {.size = sizeof(h), .flags = IOMMUFD_HWPT_DIRTY};
	struct iommufd_set_dirty set = {.size = sizeof(set), .flags = 1};
	uint64_t bits = 0;
	struct iommufd_get_dirty get = {.size = sizeof(get),
					.iova = AT,
					.length = 8192,
					.page_size = PAGE,
					.data = (uintptr_t)&bits};
	struct two t;
	uint32_t pt;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	h.dev_id = 1;
	h.pt_id = t.ioas;
	assert_int_equal(call(&t.f, IOMMUFD_HWPT_ALLOC, &h), 0);
	pt = set.hwpt_id = get.hwpt_id = h.out_hwpt_id;
	assert_int_equal(attach(&t.f, t.df[0], &pt), 0);
	assert_int_equal(call(&t.f, IOMMUFD_SET_DIRTY, &set), 0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + PAGE, 4), 0);
	assert_int_equal(call(&t.f, IOMMUFD_GET_DIRTY, &get), 0);
	assert_int_equal(bits, 2);
	two_down(&t);
}

/* ---- what a client can make us hold ---- */

static void test_limit(void **state)
{
	const rlim_t want = VFIO_EXPORTS + 256;
	struct rlimit limit;
	struct two t;

	/* Each is a file of ours here. */
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < want) {
		limit.rlim_cur = want;
		if (limit.rlim_max < want || setrlimit(RLIMIT_NOFILE, &limit))
			skip();
	}
	two_up(&t, "probe", "probe,memory=on");
	for (unsigned i = 0; i < VFIO_EXPORTS; i++)
		assert_int_equal(export_of(&t, 1, 2, 0, PAGE), 0);
	assert_int_equal(export_of(&t, 1, 2, 0, PAGE), -ENOMEM);
	/* Another device's are counted by themselves. */
	assert_int_equal(export_of(&t, 0, 0, 0, PAGE), 0);
	give_back(7);
	assert_int_equal(export_of(&t, 1, 2, 0, PAGE), 0);
	two_down(&t);
}

/* A mapping for each time that its memory came and went: each keeps a little. */
static void test_generations(void **state)
{
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	assert_int_equal(export_of(&t, 1, 2, 0, 8192), 0);
	for (unsigned i = 0; i < 300; i++) {
		assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, RW, AT + i * PAGE), 0);
		memory_off(&t);
		memory_on(&t);
	}
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), -EIO);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT + 299 * PAGE, 4), -EIO);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 300 * PAGE, NULL), 0);
	assert_int_equal(map_export(&t, t.ioas, 0, 0, PAGE, RW, AT), 0);
	assert_int_equal(command(&t, 0, CMD_WRITE, AT, 4), 0);
	two_down(&t);
}

/* ---- everything at once ---- */

#define ROUNDS 400u

struct racer {
	struct two *t;
	unsigned n;
	atomic_bool *stop;
};

static void *maps_and_unmaps(void *arg)
{
	const struct racer *r = arg;
	const uint64_t iova = AT + r->n * 0x10000;

	while (!atomic_load(r->stop)) {
		int ret = map_export(r->t, r->t->ioas, 0, 0, 8192, RW, iova);

		assert_true(ret == 0 || ret == -ENODEV);
		if (!ret)
			assert_int_equal(unmap(&r->t->f, r->t->ioas, iova, 8192, NULL), 0);
	}
	return NULL;
}

static void *exports(void *arg)
{
	const struct racer *r = arg;

	while (!atomic_load(r->stop)) {
		unsigned n;

		if (export_of(r->t, 1, 2, 0, PAGE))
			continue;
		pthread_mutex_lock(&kept_lock);
		n = --nr_kept; /* only this one makes any */
		pthread_mutex_unlock(&kept_lock);
		map_export(r->t, r->t->ioas, n, 0, PAGE, RW, 8 * AT);
		give_back(n);
		unmap(&r->t->f, r->t->ioas, 8 * AT, PAGE, NULL);
	}
	return NULL;
}

static void *transfers(void *arg)
{
	const struct racer *r = arg;
	struct probe *p = r->t->probe[0];

	for (unsigned i = 0; !atomic_load(r->stop); i++) {
		const uint64_t iova = AT + i % 3 * 0x10000;
		const uint32_t len = 4096, cmd = CMD_WRITE;
		struct vfio_device_file *df = r->t->df[0];

		vfio_device_write(df, VFIO_REGION_OFFSET(0) + REG_DMA_IOVA, &iova, 8);
		vfio_device_write(df, VFIO_REGION_OFFSET(0) + REG_DMA_LEN, &len, 4);
		vfio_device_write(df, VFIO_REGION_OFFSET(0) + REG_DMA_CMD, &cmd, 4);
		uvfio_ctx_flush(uvfio_device_ctx(p->dev));
	}
	return NULL;
}

/* Memory is off, on and reset while all of them go on; what is away is not written. */
static void test_races(void **state)
{
	static const uint16_t off = PCI_COMMAND_MASTER, on = COMMAND_ON;
	void *(*const what[])(void *) = {maps_and_unmaps, maps_and_unmaps, exports, transfers};
	pthread_t threads[4];
	struct racer racers[4];
	atomic_bool stop = false;
	uint64_t *memory;
	struct two t;

	two_up(&t, "probe", "probe,memory=on");
	map_memory(&t);
	assert_int_equal(unmap(&t.f, t.ioas, AT, 8192, NULL), 0);
	memset(t.probe[0]->buf, 0xaa, sizeof(t.probe[0]->buf));
	for (unsigned i = 0; i < 4; i++) {
		racers[i] = (struct racer){&t, i, &stop};
		assert_int_equal(pthread_create(&threads[i], NULL, what[i], &racers[i]), 0);
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		uint64_t command_at =
			VFIO_REGION_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + PCI_COMMAND;

		assert_int_equal(vfio_device_write(t.df[1], command_at, &off, 2), 2);
		memory = uvfio_bar_memory(t.probe[1]->dev, 2, 0);
		__atomic_store_n(memory, i, __ATOMIC_RELAXED);
		for (unsigned k = 0; k < 4; k++)
			uvfio_ctx_flush(uvfio_device_ctx(t.probe[k & 1]->dev));
		assert_int_equal(__atomic_load_n(memory, __ATOMIC_RELAXED), i);
		assert_int_equal(vfio_device_write(t.df[1], command_at, &on, 2), 2);
		if (i % 16 == 0)
			assert_int_equal(
				vfio_device_ioctl(t.df[1], t.f.client, VFIO_DEVICE_RESET, 0), 0);
	}
	atomic_store(&stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	two_down(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_transfers),
		cmocka_unit_test(test_permission),
		cmocka_unit_test(test_own_bar),
		cmocka_unit_test(test_revoked),
		cmocka_unit_test(test_in_flight),
		cmocka_unit_test(test_owner_closed),
		cmocka_unit_test(test_owner_pulled_out),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_copy),
		cmocka_unit_test(test_not_charged),
		cmocka_unit_test(test_dirty),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_generations),
		cmocka_unit_test(test_races),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
