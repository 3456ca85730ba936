/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A client whose memory never comes, on a test device:
 *
 *	dma-blocker KIND DEVICE[,OPTIONS]
 *
 * KIND:
 *	uffd    anonymous memory whose faults (userfaultfd) nobody answers: the kernel lets nobody
 *wait for it who comes by /proc/PID/mem, so this DMA fails at once fuse    private pages of a file
 *whose file system does not answer silent  memory without a file of a vfio-user client that does
 *not answer; DEVICE is a socket's path
 *
 * It has the device read that memory, says "stuck" when the device waits for it ("failed" when the
 *DMA has failed instead), and then does what it is told, a line each, and says what came of it:
 *	status   "busy": the device waits still; "idle", "done" or "failed"
 *	rest     the same when it is not "busy" any more
 *	reset    the device; unmap: the memory; stop: bus mastering is switched off
 *	again    once more from the start, until it is "stuck", or "failed"
 *	close    the device; then it ends  Exits with 77 when this machine
 * has no such memory.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <uvfio/driver.h>

#include "devices/pcitest/pcitest_spec.h"
#include "support/wire_client.h"
#include "unit/stalling_file.h"

#define PAGE   4096u
#define IOVA   0x10000000ull
#define CONFIG 7u

/* What is done to a device, whichever way it is reached. */
struct client;
struct way {
	int (*set)(struct client *c, unsigned reg, unsigned size, uint64_t value);
	int (*get)(struct client *c, unsigned reg, uint32_t *value);
	int (*map)(struct client *c);
	int (*unmap)(struct client *c);
	int (*reset)(struct client *c);
	int (*master)(struct client *c, bool on);
	/* Until the device waits for the memory. */
	int (*stuck)(struct client *c);
	void (*close)(struct client *c);
};

struct client {
	const struct way *way;
	struct uvfio_pci *dev;
	struct wire wire;
	bool asked; /* by DMA_READ */
	bool mapped;
	struct wire_message late; /* its question */
	uint8_t question[64];
	uint32_t ended; /* commands, before this one */
	int uffd;
	struct stalling_file *file;
	void *memory;
};

static _Noreturn void die(const char *what, int error)
{
	fprintf(stderr, "dma-blocker: %s: %s\n", what, strerror(abs(error)));
	exit(1);
}

static _Noreturn void skip(const char *why)
{
	fprintf(stderr, "dma-blocker: %s\n", why);
	exit(77);
}

/* ---- by uvfio/driver.h ---- */

static int drv_set(struct client *c, unsigned reg, unsigned size, uint64_t value)
{
	return uvfio_pci_reg_write(c->dev, UVFIO_PCI_BAR0, reg, size, value);
}

static int drv_get(struct client *c, unsigned reg, uint32_t *value)
{
	uint64_t v = 0;
	int ret = uvfio_pci_reg_read(c->dev, UVFIO_PCI_BAR0, reg, 4, &v);

	*value = (uint32_t)v;
	return ret;
}

static int drv_map(struct client *c)
{
	uint64_t iova = IOVA;

	return uvfio_pci_dma_map(c->dev, c->memory, PAGE, UVFIO_PCI_DMA_RW | UVFIO_PCI_DMA_FIXED,
				 -1, 0, &iova, NULL);
}

static int drv_unmap(struct client *c)
{
	return uvfio_pci_dma_unmap(c->dev, IOVA, PAGE);
}

static int drv_reset(struct client *c)
{
	return uvfio_pci_reset(c->dev);
}

static int drv_master(struct client *c, bool on)
{
	return on ? uvfio_pci_enable(c->dev, NULL) : uvfio_pci_disable_dma(c->dev, NULL);
}

/* Is somebody waiting for the memory? */
static bool waited_for(struct client *c)
{
	struct pollfd p = {.fd = c->uffd, .events = POLLIN};

	return c->file ? *c->file->waited_for : poll(&p, 1, 1) == 1 && p.revents & POLLIN;
}

/* -EIO when the DMA has ended instead. */
static int drv_stuck(struct client *c)
{
	uint32_t status = PCITEST_IDLE, ended = c->ended;
	int ret = 0;

	while (!ret && !(status == PCITEST_BUSY && waited_for(c))) {
		ret = drv_get(c, PCITEST_DMA_COUNT, &ended);
		if (!ret)
			ret = drv_get(c, PCITEST_DMA_STATUS, &status);
		if (!ret && ended != c->ended)
			return -EIO;
	}
	return ret;
}

static void drv_close(struct client *c)
{
	uvfio_pci_close(c->dev);
}

static const struct way by_driver = {
	drv_set, drv_get, drv_map, drv_unmap, drv_reset, drv_master, drv_stuck, drv_close,
};

static void open_driver(struct client *c, char *device)
{
	char *options = strchr(device, ',');
	struct uvfio_error err;
	int ret;

	if (options)
		*options++ = '\0';
	ret = uvfio_pci_open(device, options, &c->dev, &err);
	if (ret)
		die(err.msg, ret);
}

/* ---- by messages that are not answered ---- */

static int raw_set(struct client *c, unsigned reg, unsigned size, uint64_t value)
{
	long n = wire_write(&c->wire, 0, reg, &value, size);

	return n < 0 ? (int)n : 0;
}

static int raw_get(struct client *c, unsigned reg, uint32_t *value)
{
	long n = wire_read(&c->wire, 0, reg, value, sizeof(*value));

	return n < 0 ? (int)n : 0;
}

static int raw_map(struct client *c)
{
	return (int)wire_map(&c->wire, IOVA, PAGE, -1, 0);
}

static int raw_unmap(struct client *c)
{
	return (int)wire_unmap(&c->wire, IOVA, PAGE, 0, NULL);
}

static int raw_reset(struct client *c)
{
	return (int)wire_reset(&c->wire);
}

static int raw_master(struct client *c, bool on)
{
	uint16_t command = on ? 7 : 3;
	long n = wire_write(&c->wire, CONFIG, 4, &command, sizeof(command));

	return n < 0 ? (int)n : 0;
}

static void not_answered(struct wire *w, const struct wire_message *message, void *arg)
{
	struct client *c = arg;

	if (message->head.command != WIRE_DMA_READ || message->len > sizeof(c->question))
		return;
	c->asked = true;
	c->late = *message;
	c->late.data = memcpy(c->question, message->data, message->len);
}

static int raw_stuck(struct client *c)
{
	int ret = 0;

	while (!c->asked && !ret)
		ret = wire_serve_one(&c->wire);
	c->asked = false;
	return ret;
}

static void raw_close(struct client *c)
{
	wire_close(&c->wire);
}

static const struct way by_messages = {
	raw_set, raw_get, raw_map, raw_unmap, raw_reset, raw_master, raw_stuck, raw_close,
};

/* ---- memory ---- */

static void uffd_memory(struct client *c)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.mode = UFFDIO_REGISTER_MODE_MISSING};

	c->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (c->uffd < 0)
		skip("userfaultfd is not allowed here");
	c->memory = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (c->memory == MAP_FAILED)
		die("mmap", errno);
	reg.range.start = (uintptr_t)c->memory;
	reg.range.len = PAGE;
	if (ioctl(c->uffd, UFFDIO_API, &api) || ioctl(c->uffd, UFFDIO_REGISTER, &reg))
		die("userfaultfd", errno);
}

static void fuse_memory(struct client *c)
{
	struct stat st;
	int fd;

	c->file = geteuid() ? NULL : stalling_file_new(PAGE);
	if (!c->file)
		skip("there is no FUSE file system here");
	fd = open(c->file->path, O_RDONLY | O_CLOEXEC);
	/* From here on its size is known. */
	c->memory = fd < 0 || fstat(fd, &st)
			    ? MAP_FAILED
			    : mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (c->memory == MAP_FAILED)
		die("the file", errno);
	close(fd);
}

/* ---- commands ---- */

/* The register write may take as long as what it causes. */
static void *start(void *arg)
{
	struct client *c = arg;

	c->way->set(c, PCITEST_DMA_COMMAND, 4, PCITEST_CMD_READ);
	return NULL;
}

static int get_stuck(struct client *c)
{
	static const uint8_t zeros[PAGE];
	pthread_t thread;
	int ret = 0;

	/* As long as it has not seen an answer the server has one question at a time. */
	if (c->late.data)
		ret = wire_dma_answer(&c->wire, &c->late, 0, zeros);
	c->late.data = NULL;
	if (!ret)
		ret = c->way->master(c, true);
	if (!ret && !c->mapped)
		ret = c->way->map(c);
	c->mapped = !ret;
	if (!ret)
		ret = c->way->set(c, PCITEST_DMA_ADDRESS, 8, IOVA);
	if (!ret)
		ret = c->way->set(c, PCITEST_DMA_LENGTH, 4, 64);
	if (!ret)
		ret = c->way->get(c, PCITEST_DMA_COUNT, &c->ended);
	if (ret)
		return ret;
	if (c->way == &by_messages) {
		start(c);
	} else {
		if (pthread_create(&thread, NULL, start, c))
			return -EAGAIN;
		pthread_detach(thread);
	}
	return c->way->stuck(c);
}

static void answer(const char *what, int ret)
{
	printf("%s %s\n", what, ret ? strerrorname_np(abs(ret)) : "ok");
}

static void status(struct client *c, bool rest)
{
	static const char *const names[PCITEST_NR_STATUS] = {
		[PCITEST_IDLE] = "idle",
		[PCITEST_BUSY] = "busy",
		[PCITEST_DONE] = "done",
		[PCITEST_FAILED] = "failed",
	};
	uint32_t value = 0;
	int ret;

	do
		ret = c->way->get(c, PCITEST_DMA_STATUS, &value);
	while (rest && !ret && value == PCITEST_BUSY);
	puts(ret ? strerrorname_np(abs(ret)) : value < PCITEST_NR_STATUS ? names[value] : "odd");
}

int main(int argc, char **argv)
{
	static struct client c = {.way = &by_driver, .uffd = -1};
	char line[64];
	int ret;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3)
		return 2;
	if (!strcmp(argv[1], "uffd")) {
		uffd_memory(&c);
	} else if (!strcmp(argv[1], "fuse")) {
		fuse_memory(&c);
	} else if (!strcmp(argv[1], "silent")) {
		c.way = &by_messages;
		ret = wire_open(&c.wire, argv[2]);
		if (ret)
			die(argv[2], ret);
		c.wire.serve = not_answered;
		c.wire.serve_arg = &c;
	} else {
		return 2;
	}
	if (c.way == &by_driver)
		open_driver(&c, argv[2]);
	ret = get_stuck(&c);
	if (ret && ret != -EIO)
		die("starting", ret);
	puts(ret ? "failed" : "stuck");
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, "close"))
			break;
		if (!strcmp(line, "status") || !strcmp(line, "rest"))
			status(&c, line[0] == 'r');
		else if (!strcmp(line, "reset"))
			answer(line, c.way->reset(&c));
		else if (!strcmp(line, "unmap"))
			answer(line, c.way->unmap(&c)), c.mapped = false;
		else if (!strcmp(line, "stop"))
			answer(line, c.way->master(&c, false));
		else if (!strcmp(line, "again"))
			puts((ret = get_stuck(&c)) == -EIO ? "failed" : ret ? "odd" : "stuck");
	}
	c.way->close(&c);
	puts("closed");
	if (c.file)
		stalling_file_free(c.file);
	return 0;
}
