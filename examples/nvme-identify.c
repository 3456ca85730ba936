/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole user-space NVMe driver on plain VFIO: bring the controller up, identify it, read a block.
 *
 * Nothing but <linux/vfio.h> and libc, so it runs on hardware that is bound to vfio-pci just as it
 * runs under `uvfio run --device nvme,memory=64M -- ./nvme-identify 0000:01:00.0`.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE      4096u
#define DEPTH     16u /* entries of the admin queues and of the I/O queues */
#define IOVA_BASE 0x100000ull

/* Controller registers (NVMe base specification, "Controller Properties"). */
enum {
	CAP = 0x00,
	VS = 0x08,
	CC = 0x14,
	CSTS = 0x1c,
	AQA = 0x24,
	ASQ = 0x28,
	ACQ = 0x30,
	DOORBELLS = 0x1000,
};

/* The pages of our DMA memory. */
enum { ADMIN_SQ, ADMIN_CQ, IO_SQ, IO_CQ, DATA, NR_PAGES };

struct sqe {
	uint8_t opcode, flags;
	uint16_t id;
	uint32_t nsid, rsvd[4];
	uint64_t prp1, prp2;
	uint32_t dw[6]; /* command dwords 10 to 15 */
};

struct cqe {
	uint32_t result, rsvd;
	uint16_t sq_head, sq_id, id, status; /* bit 0 of the status is the phase */
};

struct queue {
	unsigned id, tail, head, phase;
	struct sqe *sqes;
	volatile struct cqe *cqes;
};

struct controller {
	volatile uint8_t *regs;
	uint8_t *mem; /* NR_PAGES pages, mapped at IOVA_BASE */
	unsigned stride;
	int irq; /* eventfd of MSI-X vector 0 */
};

static void die(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void die(const char *fmt, ...)
{
	int error = errno;
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static uint32_t reg32(struct controller *c, unsigned off)
{
	return *(volatile uint32_t *)(c->regs + off);
}

static void set32(struct controller *c, unsigned off, uint32_t value)
{
	*(volatile uint32_t *)(c->regs + off) = value;
}

static void set64(struct controller *c, unsigned off, uint64_t value)
{
	*(volatile uint64_t *)(c->regs + off) = value;
}

static uint64_t iova(unsigned page)
{
	return IOVA_BASE + (uint64_t)page * PAGE;
}

static int open_group(const char *bdf)
{
	char path[PATH_MAX], link[PATH_MAX];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		die("%s", path);
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	fd = open(path, O_RDWR);
	if (fd < 0)
		die("%s", path);
	return fd;
}

/* Container, group, IOMMU, DMA memory, device; returns the device fd. */
static int open_device(const char *bdf, uint8_t **mem)
{
	int container = open("/dev/vfio/vfio", O_RDWR), group = open_group(bdf), device;
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.iova = IOVA_BASE,
		.size = (uint64_t)NR_PAGES * PAGE,
	};

	if (container < 0)
		die("/dev/vfio/vfio");
	if (ioctl(container, VFIO_GET_API_VERSION) != VFIO_API_VERSION)
		die("VFIO_GET_API_VERSION");
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("%s: attaching its group", bdf);
	*mem = mmap(NULL, map.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (*mem == MAP_FAILED)
		die("mmap");
	map.vaddr = (uintptr_t)*mem;
	if (ioctl(container, VFIO_IOMMU_MAP_DMA, &map))
		die("VFIO_IOMMU_MAP_DMA");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (device < 0)
		die("%s: VFIO_GROUP_GET_DEVICE_FD", bdf);
	return device;
}

/* Vector 0 of MSI-X to an eventfd. */
static int enable_msix(int device)
{
	char buf[sizeof(struct vfio_irq_set) + sizeof(int)] = {0};
	struct vfio_irq_set *set = (struct vfio_irq_set *)buf;
	int fd = eventfd(0, EFD_CLOEXEC);

	set->argsz = sizeof(buf);
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = 1;
	memcpy(set->data, &fd, sizeof(fd));
	if (fd < 0 || ioctl(device, VFIO_DEVICE_SET_IRQS, set))
		die("VFIO_DEVICE_SET_IRQS");
	return fd;
}

/* COMMAND: memory decode and bus mastering. */
static void enable_memory_and_dma(int device)
{
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX};
	uint16_t command;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &config) ||
	    pread(device, &command, sizeof(command), (off_t)config.offset + 4) != sizeof(command))
		die("reading COMMAND");
	command |= 0x0006;
	if (pwrite(device, &command, sizeof(command), (off_t)config.offset + 4) != sizeof(command))
		die("writing COMMAND");
}

static volatile uint8_t *map_registers(int device)
{
	struct vfio_region_info bar = {.argsz = sizeof(bar), .index = VFIO_PCI_BAR0_REGION_INDEX};
	void *regs;

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &bar))
		die("VFIO_DEVICE_GET_REGION_INFO");
	if (!(bar.flags & VFIO_REGION_INFO_FLAG_MMAP)) {
		fprintf(stderr, "BAR 0 cannot be mapped; this program wants a mapped BAR\n");
		exit(1);
	}
	regs = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, device, (off_t)bar.offset);
	if (regs == MAP_FAILED)
		die("mapping BAR 0");
	return regs;
}

static void wait_ready(struct controller *c, uint32_t ready)
{
	unsigned ms = (unsigned)(*(volatile uint64_t *)(c->regs + CAP) >> 24 & 0xff) * 500;

	for (; (reg32(c, CSTS) & 1) != ready; ms--) {
		if (reg32(c, CSTS) & 2 || ms == 0) {
			fprintf(stderr, "the controller does not become %s: CSTS %#x\n",
				ready ? "ready" : "disabled", reg32(c, CSTS));
			exit(1);
		}
		usleep(1000);
	}
}

/* Submit one command and wait for its completion by interrupt; returns the status field. */
static unsigned submit(struct controller *c, struct queue *q, struct sqe sqe)
{
	volatile struct cqe *cqe = &q->cqes[q->head];
	struct pollfd interrupt = {.fd = c->irq, .events = POLLIN};
	uint64_t count;
	unsigned status;

	sqe.id = (uint16_t)q->tail;
	q->sqes[q->tail] = sqe;
	q->tail = (q->tail + 1) % DEPTH;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	set32(c, DOORBELLS + 2 * q->id * c->stride, q->tail);
	while ((cqe->status & 1) != q->phase) {
		if (poll(&interrupt, 1, 5000) != 1 || read(c->irq, &count, sizeof(count)) < 0) {
			fprintf(stderr, "no interrupt within 5 s\n");
			exit(1);
		}
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	status = cqe->status >> 1;
	if (++q->head == DEPTH) {
		q->head = 0;
		q->phase ^= 1;
	}
	set32(c, DOORBELLS + (2 * q->id + 1) * c->stride, q->head);
	return status;
}

static void must(struct controller *c, struct queue *q, const char *what, struct sqe sqe)
{
	unsigned status = submit(c, q, sqe);

	if (status) {
		fprintf(stderr, "%s: status code type %u, status code %#x\n", what, status >> 8 & 7,
			status & 0xff);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	struct controller c;
	struct queue admin, io;
	uint64_t blocks;
	unsigned format, shift;
	int device;

	if (argc != 2) {
		fprintf(stderr, "usage: %s DDDD:BB:DD.F\n", argv[0]);
		return 2;
	}
	device = open_device(argv[1], &c.mem);
	c.irq = enable_msix(device);
	enable_memory_and_dma(device);
	c.regs = map_registers(device);
	c.stride = 4u << (*(volatile uint64_t *)(c.regs + CAP) >> 32 & 0xf);
	admin = (struct queue){
		0, 0, 0, 1, (void *)(c.mem + ADMIN_SQ * PAGE), (void *)(c.mem + ADMIN_CQ * PAGE)};
	io = (struct queue){
		1, 0, 0, 1, (void *)(c.mem + IO_SQ * PAGE), (void *)(c.mem + IO_CQ * PAGE)};

	set32(&c, CC, 0);
	wait_ready(&c, 0);
	set32(&c, AQA, (DEPTH - 1) << 16 | (DEPTH - 1));
	set64(&c, ASQ, iova(ADMIN_SQ));
	set64(&c, ACQ, iova(ADMIN_CQ));
	set32(&c, CC, 4 << 20 | 6 << 16 | 1); /* CQE 16 bytes, SQE 64 bytes, 4 KiB pages, enable */
	wait_ready(&c, 1);

	must(&c, &admin, "identify controller",
	     (struct sqe){.opcode = 0x06, .prp1 = iova(DATA), .dw = {1}});
	printf("%s: NVMe %u.%u, model \"%.40s\", serial \"%.20s\"\n", argv[1], reg32(&c, VS) >> 16,
	       reg32(&c, VS) >> 8 & 0xff, c.mem + DATA * PAGE + 24, c.mem + DATA * PAGE + 4);

	must(&c, &admin, "identify namespace 1",
	     (struct sqe){.opcode = 0x06, .nsid = 1, .prp1 = iova(DATA)});
	memcpy(&blocks, c.mem + DATA * PAGE, sizeof(blocks));
	format = c.mem[DATA * PAGE + 26] & 0xf;
	shift = c.mem[DATA * PAGE + 128 + 4 * format + 2];
	printf("namespace 1: %llu blocks of %u bytes\n", (unsigned long long)blocks, 1u << shift);

	must(&c, &admin, "create completion queue",
	     (struct sqe){.opcode = 0x05, .prp1 = iova(IO_CQ), .dw = {(DEPTH - 1) << 16 | 1, 3}});
	must(&c, &admin, "create submission queue",
	     (struct sqe){.opcode = 0x01,
			  .prp1 = iova(IO_SQ),
			  .dw = {(DEPTH - 1) << 16 | 1, 1 << 16 | 1}});
	must(&c, &io, "read block 0", (struct sqe){.opcode = 0x02, .nsid = 1, .prp1 = iova(DATA)});
	printf("block 0 begins with");
	for (unsigned i = 0; i < 16; i++)
		printf(" %02x", c.mem[DATA * PAGE + i]);
	printf("\n");
	return 0;
}
