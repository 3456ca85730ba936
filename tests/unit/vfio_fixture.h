/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of src/vfio/ share: a machine with a small device model, and a client in this
 * process whose addresses are plain pointers and whose eventfds are its own.
 *
 * The model ("probe") has in BAR 0 (64-bit, 16 KiB):
 *
 *   0x000  a constant                          0x008  scratch: reads what was written
 *   0x010  write one to clear                  0x018  DMA address (8 bytes)
 *   0x020  DMA length                          0x028  DMA command: CMD_…, done in the work context
 *   0x030  status of the last DMA command      0x038  how many register writes were seen
 *   0x040  DMA commands done                   0x048  state: 1 after resume, 0 when quiet
 *   0x080  a counter: reading it adds one (READ_EVENT)
 *   0x1000 doorbells, 64 bytes                 0x1800 pollable registers, 64 bytes
 *   0x2000 MSI-X table, 8 vectors              0x3000 PBA
 *
 * BAR 2 (with memory=on): 8 KiB of memory; with mixed=on 64 KiB of it, with a register of 8 bytes
 * at MIXED_REGISTER.  BAR 4: I/O, 32 bytes.
 */
#ifndef TESTS_UNIT_VFIO_FIXTURE_H
#define TESTS_UNIT_VFIO_FIXTURE_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include "guarded.h"
#include "vfio/vfio.h"

#define PROBE_ID 0xcafef00du

enum {
	REG_ID = 0x00,
	REG_SCRATCH = 0x08,
	REG_W1C = 0x10,
	REG_DMA_IOVA = 0x18,
	REG_DMA_LEN = 0x20,
	REG_DMA_CMD = 0x28,
	REG_DMA_STATUS = 0x30,
	REG_WRITES = 0x38,
	REG_DMA_DONE = 0x40,
	REG_STATE = 0x48,
	REG_COUNTER = 0x80,
	REG_DOORBELL = 0x1000,
	REG_POLLABLE = 0x1800,
	REG_POLL_ZERO = 0x1840,
	REG_TABLE = 0x2000,
	REG_PBA = 0x3000,
};

#define MIXED_BYTES    65536u
#define MIXED_REGISTER 4104u

enum {
	CMD_READ = 1,  /* client → device buffer */
	CMD_WRITE = 2, /* device buffer → client */
	CMD_HOLD = 3,  /* pin, and keep it until told to become quiet */
	CMD_IRQ = 4,   /* raise the vector in the DMA length */
};

struct probe {
	struct uvfio_device *dev;
	struct uvfio_timer *timer;
	pthread_mutex_t lock; /* guards what follows: reg_write() against work() */
	uint64_t iova;
	uint32_t len, w1c, cmd;
	bool has_cmd;
	uint32_t writes, done;
	uint64_t counter;
	/* of the work context */
	struct uvfio_dma_pin pin;
	struct uvfio_dma op;
	bool pinned, op_pending, running, quiescing;
	uint8_t buf[8192];
	/* what the tests look at */
	_Atomic unsigned resets[UVFIO_RESET_CLOSE + 1];
	_Atomic unsigned quiesces, resumes, works;
	_Atomic bool unpinned_late; /* the last quiesce had to wait for a pin */
	uint32_t log[64][3];        /* offset, size, value of the first writes */
	unsigned nr_log;
	struct uvfio_histogram times;
};

/* The probes of a test in the order of their making; tests run one at a time. */
static struct probe *probes[4096];
static unsigned nr_probes;

static void probe_timer(void *arg)
{
	struct probe *p = arg;

	uvfio_dma_unpin(p->dev, &p->pin);
	p->pinned = false;
	p->unpinned_late = true;
	if (p->quiescing && !p->op_pending) {
		p->quiescing = false;
		uvfio_quiesced(p->dev);
	}
}

/* One thing that is different from other probes. */
static void probe_shape(struct uvfio_pci_desc *desc, const char *shape)
{
	static const uint8_t no_image[2048] = {1, 2, 3};

	if (!strcmp(shape, "bad-rom")) {
		desc->rom = no_image;
		desc->rom_len = sizeof(no_image);
	} else if (!strcmp(shape, "shadow-rom")) {
		desc->rom_size = 0;
	} else if (!strcmp(shape, "broken-intx")) {
		desc->broken_intx = true;
	} else if (!strcmp(shape, "no-soft-reset")) {
		desc->no_soft_reset = true;
	} else if (!strcmp(shape, "af")) {
		desc->flr = false;
		desc->af = true;
	} else if (!strcmp(shape, "d1-d2")) {
		desc->pm_states = UVFIO_PM_D1 | UVFIO_PM_D2;
	} else if (!strcmp(shape, "no-mmap")) {
		desc->bars[0].flags |= UVFIO_BAR_NO_MMAP;
	} else {
		fail_msg("there is no shape '%s'", shape);
	}
}

static int probe_create(struct uvfio_device *dev, const struct uvfio_args *args, void **priv,
			struct uvfio_error *err)
{
	static const struct uvfio_area areas[] = {
		{0x000, 0x80, UVFIO_AREA_REGISTERS, 0},
		{0x080, 0x08, UVFIO_AREA_REGISTERS, UVFIO_AREA_READ_EVENT},
		{0x1000, 0x40, UVFIO_AREA_DOORBELLS, 0},
		{0x1800, 0x40, UVFIO_AREA_REGISTERS, UVFIO_AREA_POLLABLE},
		{0x1840, 0x04, UVFIO_AREA_REGISTERS, UVFIO_AREA_POLLABLE | UVFIO_AREA_POLL_ZERO},
	};
	static const struct uvfio_area plain[] = {{0, 0x80, UVFIO_AREA_REGISTERS, 0}};
	static const struct uvfio_area memory[] = {{0, 8192, UVFIO_AREA_MEMORY, 0}};
	static const struct uvfio_area mixed[] = {
		{0, MIXED_REGISTER, UVFIO_AREA_MEMORY, 0},
		{MIXED_REGISTER, 8, UVFIO_AREA_REGISTERS, 0},
		{MIXED_REGISTER + 8, MIXED_BYTES - MIXED_REGISTER - 8, UVFIO_AREA_MEMORY, 0},
	};
	static const struct uvfio_area io[] = {{0, 32, UVFIO_AREA_REGISTERS, 0}};
	static const uint8_t rom[3000] = {0x55, 0xaa, 1};
	struct uvfio_pci_desc desc = {
		.vendor = 0x1b36,
		.device = 0x0042,
		.class_code = 0xff0000,
		.interrupt_pin = 1,
		.bars[0] = {16384, UVFIO_BAR_MEM64, areas, 5},
		.bars[4] = {32, UVFIO_BAR_IO, io, 1},
		.rom_size = 4096,
		.rom = rom,
		.rom_len = sizeof(rom),
		.msi_vectors = 4,
		.msi_masking = true,
		.msix_vectors = 8,
		.msix_table = REG_TABLE,
		.msix_pba = REG_PBA,
		.pcie = true,
		.pm = true,
		.flr = true,
	};
	bool with_memory = false, with_mixed = false, without_events = false, without_reset = false,
	     without_pin = false;
	struct probe *p;
	int ret;

	ret = uvfio_arg_bool(args, "memory", &with_memory, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "mixed", &with_mixed, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "plain", &without_events, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "noreset", &without_reset, err);
	if (!ret)
		ret = uvfio_arg_bool(args, "nopin", &without_pin, err);
	if (ret)
		return ret;
	if (uvfio_arg(args, "fail"))
		return uvfio_error_set(err, -EIO, "fail=%s was asked for", uvfio_arg(args, "fail"));
	if (with_memory)
		desc.bars[2] = (struct uvfio_bar_desc){8192, 0, memory, 1};
	if (with_mixed)
		desc.bars[2] = (struct uvfio_bar_desc){MIXED_BYTES, 0, mixed, 3};
	if (without_events)
		desc.bars[0] = (struct uvfio_bar_desc){16384, UVFIO_BAR_MEM64, plain, 1};
	if (without_pin)
		desc.interrupt_pin = 0;
	if (without_reset) {
		desc.flr = false;
		desc.no_soft_reset = true;
	}
	for (unsigned i = 0; i < args->nr_options; i++) {
		if (!strcmp(args->options[i].key, "shape"))
			probe_shape(&desc, args->options[i].value);
	}
	p = calloc(1, sizeof(*p));
	assert_non_null(p);
	p->dev = dev;
	pthread_mutex_init(&p->lock, NULL);
	ret = uvfio_device_init(dev, &desc, err);
	if (ret) {
		free(p);
		return ret;
	}
	p->timer = uvfio_timer_new(dev, probe_timer, p);
	probes[nr_probes++ % 4096] = p;
	*priv = p;
	return 0;
}

static void probe_destroy(void *priv)
{
	struct probe *p = priv;

	uvfio_timer_free(p->timer);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

static void probe_write(void *priv, unsigned bar, uint64_t off, unsigned size, uint64_t value)
{
	struct probe *p = priv;

	pthread_mutex_lock(&p->lock);
	if (p->nr_log < 64) {
		p->log[p->nr_log][0] = (uint32_t)off | bar << 28;
		p->log[p->nr_log][1] = size;
		p->log[p->nr_log++][2] = (uint32_t)value;
	}
	p->writes++;
	uvfio_reg_set(p->dev, 0, REG_WRITES, 4, p->writes);
	if (bar == 0 && off >= REG_SCRATCH && off + size <= REG_SCRATCH + 8) {
		uvfio_reg_set(p->dev, 0, off, size, value);
	} else if (bar == 0 && off == REG_W1C) {
		p->w1c &= ~(uint32_t)value;
		uvfio_reg_set(p->dev, 0, REG_W1C, 4, p->w1c);
	} else if (bar == 0 && off == REG_DMA_IOVA) {
		p->iova = size == 8 ? value : (p->iova & ~0xffffffffull) | value;
	} else if (bar == 0 && off == REG_DMA_IOVA + 4) {
		p->iova = (p->iova & 0xffffffffull) | value << 32;
	} else if (bar == 0 && off == REG_DMA_LEN) {
		p->len = (uint32_t)value;
	} else if (bar == 0 && off == REG_DMA_CMD) {
		p->cmd = (uint32_t)value;
		p->has_cmd = true;
		uvfio_kick(p->dev);
	}
	pthread_mutex_unlock(&p->lock);
}

static uint64_t probe_read(void *priv, unsigned bar, uint64_t off, unsigned size)
{
	struct probe *p = priv;
	uint64_t value;

	pthread_mutex_lock(&p->lock);
	value = ++p->counter;
	pthread_mutex_unlock(&p->lock);
	return value;
}

static void probe_command_done(struct probe *p, int ret)
{
	pthread_mutex_lock(&p->lock);
	uvfio_reg_set(p->dev, 0, REG_DMA_STATUS, 4, (uint32_t)-ret);
	uvfio_reg_set(p->dev, 0, REG_DMA_DONE, 4, ++p->done);
	pthread_mutex_unlock(&p->lock);
}

static void probe_op_done(struct uvfio_dma *op)
{
	struct probe *p = (struct probe *)((char *)op - offsetof(struct probe, op));

	p->op_pending = false;
	probe_command_done(p, op->status);
	if (p->quiescing && !p->pinned) {
		p->quiescing = false;
		uvfio_quiesced(p->dev);
	}
}

/* 1: it will be done later. */
static int probe_dma(struct probe *p, uint32_t cmd, uint64_t iova, uint32_t len)
{
	struct iovec iov[4];
	int ret;

	switch (cmd) {
	case CMD_READ:
	case CMD_WRITE:
		if (p->op_pending)
			return -EBUSY;
		p->op = (struct uvfio_dma){.iova = iova,
					   .buf = p->buf,
					   .len = len > sizeof(p->buf) ? sizeof(p->buf) : len,
					   .to_client = cmd == CMD_WRITE,
					   .done = probe_op_done};
		ret = uvfio_dma_submit(p->dev, &p->op);
		p->op_pending = ret == 1;
		return ret;
	case CMD_HOLD:
		if (p->pinned)
			return -EBUSY;
		ret = uvfio_dma_pin(p->dev, iova, len, true, iov, 4, &p->pin);
		p->pinned = ret > 0;
		return ret < 0 ? ret : 0;
	case CMD_IRQ:
		uvfio_irq_raise(p->dev, len);
		return 0;
	default:
		return -EINVAL;
	}
}

static bool probe_work(void *priv)
{
	struct probe *p = priv;
	uint32_t cmd, len;
	uint64_t iova;
	bool has;
	int ret;

	p->works++;
	pthread_mutex_lock(&p->lock);
	cmd = p->cmd;
	iova = p->iova;
	len = p->len;
	has = p->has_cmd;
	p->has_cmd = false;
	pthread_mutex_unlock(&p->lock);
	if (!has)
		return false;
	ret = probe_dma(p, cmd, iova, len);
	if (ret != 1)
		probe_command_done(p, ret);
	return false;
}

static void probe_quiesce(void *priv)
{
	struct probe *p = priv;

	p->quiesces++;
	p->running = false;
	p->unpinned_late = false;
	uvfio_reg_set(p->dev, 0, REG_STATE, 4, 0);
	if (p->pinned || p->op_pending) {
		p->quiescing = true;
		if (p->pinned)
			uvfio_timer_arm(p->timer, 2000000);
	} else {
		uvfio_quiesced(p->dev);
	}
}

static void probe_resume(void *priv)
{
	struct probe *p = priv;

	p->resumes++;
	p->running = true;
	uvfio_reg_set(p->dev, 0, REG_STATE, 4, 1);
}

static void probe_reset(void *priv, enum uvfio_reset_kind kind)
{
	struct probe *p = priv;

	p->resets[kind]++;
	pthread_mutex_lock(&p->lock);
	for (unsigned off = 0; off < 0x80; off += 8)
		uvfio_reg_set(p->dev, 0, off, 8, 0);
	p->w1c = 0xff;
	p->has_cmd = false;
	p->iova = 0;
	p->len = 0;
	p->writes = 0;
	p->done = 0;
	p->nr_log = 0;
	uvfio_reg_set(p->dev, 0, REG_ID, 4, PROBE_ID);
	uvfio_reg_set(p->dev, 0, REG_W1C, 4, p->w1c);
	pthread_mutex_unlock(&p->lock);
}

static void probe_stats(void *priv, struct uvfio_stats *out)
{
	struct probe *p = priv;

	uvfio_stat_counter(out, "resets", "Function resets", p->resets[UVFIO_RESET_FUNCTION], NULL);
	uvfio_stat_gauge(out, "works", "Calls of the work function", p->works, "kind=%s",
			 "a \"b\"");
	uvfio_stat_histogram(out, "command_seconds", "Time of a command", &p->times, "op=%s",
			     "read");
}

static const struct uvfio_key probe_keys[] = {
	{"memory", "on|off", "a BAR of memory", false},
	{"mixed", "on|off", "a BAR of memory with a register in it", false},
	{"plain", "on|off", "registers only", false},
	{"noreset", "on|off", "no function-level reset", false},
	{"shape", "NAME", "one thing that is different; see probe_shape()", true},
	{"nopin", "on|off", "no INTx", false},
	{"fail", "TEXT", "fail to be made", false},
	{"list", "TEXT", "may be repeated", true},
};

static const struct uvfio_model probe_model = {
	.abi = UVFIO_DEVICE_ABI,
	.name = "probe",
	.summary = "a device for tests",
	.keys = probe_keys,
	.nr_keys = sizeof(probe_keys) / sizeof(probe_keys[0]),
	.create = probe_create,
	.destroy = probe_destroy,
	.reg_write = probe_write,
	.reg_read = probe_read,
	.work = probe_work,
	.quiesce = probe_quiesce,
	.resume = probe_resume,
	.reset = probe_reset,
	.stats = probe_stats,
};

/* ---- the client ---- */

#define CLIENT_MEM (1u << 20)

struct test_client {
	struct vfio_client client; /* first */
	int fd;                    /* what @mem is a mapping of */
	uint8_t *mem;              /* CLIENT_MEM bytes that can be mapped for DMA */
	struct iommu_peer *peer;   /* set: mappings go to it, at their distance from @mem */
	/* Copies outside [low, high) fault when set.  As a process reads another: not memcpy(),
	 * whose reads beyond an object, which a string is copied by, a sanitizer would take for
	 * errors. */
	uintptr_t low, high;
	int group; /* the fd 1000 + n is the file of this group */
};

static bool client_can(struct vfio_client *client, uint64_t uaddr, size_t len)
{
	struct test_client *tc = (struct test_client *)client;

	if (uaddr < 4096)
		return false;
	return !tc->high || (uaddr >= tc->low && uaddr + len <= tc->high);
}

static int client_copy_from(struct vfio_client *client, void *dst, uint64_t uaddr, size_t len)
{
	if (!client_can(client, uaddr, len))
		return -EFAULT;
	return process_vm_readv(getpid(), &(struct iovec){dst, len}, 1,
				&(struct iovec){(void *)(uintptr_t)uaddr, len}, 1,
				0) == (ssize_t)len
		       ? 0
		       : -EFAULT;
}

static int client_copy_to(struct vfio_client *client, uint64_t uaddr, const void *src, size_t len)
{
	if (!client_can(client, uaddr, len))
		return -EFAULT;
	memcpy((void *)(uintptr_t)uaddr, src, len);
	return 0;
}

static int client_eventfd(struct vfio_client *client, int32_t fd)
{
	char path[64], target[64] = "";
	int copy;

	if (fcntl(fd, F_GETFD) < 0)
		return -EBADF;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof(target) - 1) < 0 || !strstr(target, "eventfd"))
		return -EINVAL;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return copy < 0 ? -EBADF : copy;
}

static int client_group(struct vfio_client *client, int32_t fd)
{
	if (fd >= 1000)
		return fd - 1000;
	return fcntl(fd, F_GETFD) < 0 ? -EBADF : -EINVAL;
}

static int client_import(void *client, uint64_t vaddr, uint64_t size, unsigned prot,
			 struct iommu_mem **mem, unsigned *nr)
{
	struct test_client *tc = client;
	uint64_t base = (uintptr_t)tc->mem;
	struct stat st;

	if (vaddr < base || vaddr - base > CLIENT_MEM || size > CLIENT_MEM - (vaddr - base))
		return -EFAULT;
	*mem = calloc(1, sizeof(**mem));
	assert_non_null(*mem);
	*nr = 1;
	if (tc->peer) {
		**mem = (struct iommu_mem){.kind = IOMMU_MEM_PEER,
					   .peer = tc->peer,
					   .offset = vaddr - base,
					   .len = size};
		return 0;
	}
	assert_int_equal(fstat(tc->fd, &st), 0);
	**mem = (struct iommu_mem){
		.kind = IOMMU_MEM_FILE,
		.fd = tc->fd,
		.offset = vaddr - base,
		.len = size,
		.file_id = {st.st_dev, st.st_ino},
		.page = 4096,
	};
	return 0;
}

static void client_release(void *client, struct iommu_mem *mem, unsigned nr)
{
	free(mem);
}

static const struct vfio_client_ops client_ops = {
	.copy_from = client_copy_from,
	.copy_to = client_copy_to,
	.get_eventfd = client_eventfd,
	.get_group = client_group,
	.memory = {client_import, client_release},
};

/* ---- a machine with one open device ---- */

struct fixture {
	struct uvfio_log *log;
	struct vfio_machine *machine;
	struct test_client tc;
	struct vfio_client *client;
	struct vfio_group_file *gf;
	struct vfio_container *container;
	struct vfio_device_file *df;
	struct vfio_device *dev;
	struct probe *probe;
};

/* @policy NULL: the default. */
static inline void fixture_machine_with(struct fixture *f, const struct vfio_policy *policy)
{
	struct uvfio_error err;

	guarded();
	memset(f, 0, sizeof(*f));
	nr_probes = 0;
	f->machine = vfio_machine_new(policy, NULL, &err);
	assert_non_null(f->machine);
	assert_int_equal(vfio_machine_add_model(f->machine, &probe_model), 0);
	f->tc.client = (struct vfio_client){.ops = &client_ops, .caps = VFIO_CAP_IPC_LOCK};
	f->client = &f->tc.client;
	f->tc.fd = memfd_create("client", MFD_CLOEXEC);
	assert_true(f->tc.fd >= 0);
	assert_int_equal(ftruncate(f->tc.fd, CLIENT_MEM), 0);
	f->tc.mem = mmap(NULL, CLIENT_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, f->tc.fd, 0);
	assert_ptr_not_equal(f->tc.mem, MAP_FAILED);
}

static inline void fixture_machine(struct fixture *f)
{
	fixture_machine_with(f, NULL);
}

static inline void fixture_add(struct fixture *f, const char *spec)
{
	struct uvfio_error err = {""};

	if (vfio_machine_add_device(f->machine, spec, &err))
		fail_msg("%s: %s", spec, err.msg);
}

/* Device 0 is opened through group 1 and a type1v2 container. */
static inline void fixture_open(struct fixture *f)
{
	static const char name[] = "0000:01:00.0";

	assert_int_equal(vfio_group_open(f->machine, 1, &f->gf), 0);
	assert_int_equal(vfio_container_open(f->machine, &f->container), 0);
	assert_int_equal(vfio_group_set_container(f->gf, f->container), 0);
	assert_int_equal(
		vfio_container_ioctl(f->container, f->client, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU),
		0);
	assert_int_equal(vfio_group_get_device(f->gf, f->client, (uintptr_t)name, &f->df), 0);
	f->dev = vfio_device_file_device(f->df);
	f->probe = probes[0];
}

static inline void fixture_close(struct fixture *f)
{
	if (f->df)
		vfio_device_release(f->df);
	if (f->gf)
		vfio_group_release(f->gf);
	if (f->container)
		vfio_container_release(f->container);
	vfio_machine_free(f->machine);
	munmap(f->tc.mem, CLIENT_MEM);
	close(f->tc.fd);
}

static inline void fixture_up(struct fixture *f, const char *spec)
{
	fixture_machine(f);
	fixture_add(f, spec);
	fixture_open(f);
}

/* ---- short words ---- */

static inline int dev_ioctl(struct fixture *f, unsigned cmd, void *arg)
{
	return vfio_device_ioctl(f->df, f->client, cmd, (uintptr_t)arg);
}

static inline uint64_t bar_get(struct fixture *f, unsigned bar, uint64_t off, unsigned size)
{
	uint64_t value = 0;

	assert_int_equal(vfio_device_read(f->df, VFIO_REGION_OFFSET(bar) + off, &value, size),
			 size);
	return value;
}

static inline void bar_put(struct fixture *f, unsigned bar, uint64_t off, unsigned size,
			   uint64_t value)
{
	assert_int_equal(vfio_device_write(f->df, VFIO_REGION_OFFSET(bar) + off, &value, size),
			 size);
}

static inline uint32_t config_get(struct fixture *f, unsigned off, unsigned size)
{
	return (uint32_t)bar_get(f, VFIO_PCI_CONFIG_REGION_INDEX, off, size);
}

static inline void config_put(struct fixture *f, unsigned off, unsigned size, uint32_t value)
{
	bar_put(f, VFIO_PCI_CONFIG_REGION_INDEX, off, size, value);
}

#define COMMAND_ON (PCI_COMMAND_MEMORY | PCI_COMMAND_IO | PCI_COMMAND_MASTER)

static inline int dma_map(struct fixture *f, uint64_t iova, uint64_t off, uint64_t size,
			  unsigned flags)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = flags,
		.vaddr = (uintptr_t)f->tc.mem + off,
		.iova = iova,
		.size = size,
	};

	return vfio_container_ioctl(f->container, f->client, VFIO_IOMMU_MAP_DMA, (uintptr_t)&map);
}

static inline int dma_unmap(struct fixture *f, uint64_t iova, uint64_t size, uint64_t *unmapped)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap),
		.iova = iova,
		.size = size,
	};
	int ret = vfio_container_ioctl(f->container, f->client, VFIO_IOMMU_UNMAP_DMA,
				       (uintptr_t)&unmap);

	if (unmapped)
		*unmapped = unmap.size;
	return ret;
}

/* Give the probe a command and wait until it is done: its status. */
static inline int probe_command(struct fixture *f, uint32_t cmd, uint64_t iova, uint32_t len)
{
	bar_put(f, 0, REG_DMA_IOVA, 8, iova);
	bar_put(f, 0, REG_DMA_LEN, 4, len);
	bar_put(f, 0, REG_DMA_CMD, 4, cmd);
	uvfio_ctx_flush(uvfio_device_ctx(f->probe->dev));
	return -(int)bar_get(f, 0, REG_DMA_STATUS, 4);
}

#endif
