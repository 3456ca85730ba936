// SPDX-License-Identifier: BSD-3-Clause
/*
 * uio_client TEST: drives the test device (pcitest, 0000:01:00.0) through /dev/uio0 and sysfs, with
 * nothing but the interface that uio programs have.  Prints FAIL lines and exits 1 when something
 * is wrong.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include "devices/pcitest/pcitest_spec.h"

#define DEVICE "/sys/bus/pci/devices/0000:01:00.0/"

static int failures;

#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond)) {                                                                     \
			printf("FAIL %s:%d: %s (errno %s)\n", __FILE__, __LINE__, #cond,           \
			       strerrorname_np(errno));                                            \
			failures++;                                                                \
		}                                                                                  \
	} while (0)

static volatile uint32_t *regs;
static int uio = -1;
static int32_t base; /* the device's count when the test began: others have had it */

static volatile uint32_t *map_bar(const char *name, size_t len)
{
	int fd = open(name, O_RDWR);
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	CHECK(p != MAP_FAILED);
	close(fd);
	if (p == MAP_FAILED)
		exit(1);
	return p;
}

static void begin(void)
{
	FILE *event = fopen("/sys/class/uio/uio0/event", "r");

	CHECK(event && fscanf(event, "%d", &base) == 1);
	fclose(event);
	uio = open("/dev/uio0", O_RDWR);
	CHECK(uio >= 0);
	regs = map_bar(DEVICE "resource0", PCITEST_REGS_SIZE);
	CHECK(regs[PCITEST_ID / 4] == PCITEST_MAGIC);
}

static void set_line(bool on)
{
	regs[PCITEST_INTX / 4] = on ? PCITEST_INTX_LEVEL : 0;
}

static int32_t next_count_of(int fd)
{
	int32_t n = -1;

	CHECK(read(fd, &n, sizeof(n)) == sizeof(n));
	return n - base;
}

static int32_t next_count(void)
{
	return next_count_of(uio);
}

static void unmask(int32_t on)
{
	CHECK(write(uio, &on, sizeof(on)) == sizeof(on));
}

static bool ready(int fd, int timeout)
{
	struct pollfd p = {fd, POLLIN, 0};

	return poll(&p, 1, timeout) == 1 && p.revents & POLLIN;
}

static unsigned command(void)
{
	uint16_t value = 0;
	int fd = open(DEVICE "config", O_RDONLY);

	CHECK(pread(fd, &value, 2, 4) == 2);
	close(fd);
	return value;
}

static void *raise_later(void *arg)
{
	/* When the other thread sleeps in its read; or before, which must do as well. */
	usleep(20000);
	set_line(true);
	return NULL;
}

static void test_line(void)
{
	int epoll = epoll_create1(0);
	struct epoll_event event = {.events = EPOLLIN};
	uint8_t high = 0;
	pthread_t thread;
	int config;

	begin();
	CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, uio, &event) == 0);
	CHECK(epoll_wait(epoll, &event, 1, 0) == 0);
	pthread_create(&thread, NULL, raise_later, NULL);
	CHECK(next_count() == 1);
	pthread_join(thread, NULL);
	CHECK(!ready(uio, 0));
	CHECK(command() & 0x400); /* DisINTx: masked by its delivery */
	unmask(1);                /* still asserted */
	CHECK(epoll_wait(epoll, &event, 1, 10000) == 1);
	CHECK(event.events == EPOLLIN);
	CHECK(next_count() == 2);
	set_line(false);
	unmask(1);
	CHECK(!ready(uio, 0));
	CHECK(!(command() & 0x400));
	unmask(0);
	CHECK(command() & 0x400);
	set_line(true);
	CHECK(!ready(uio, 0));
	/* As programs of the kernel's driver do it: the high byte of COMMAND. */
	config = open(DEVICE "config", O_RDWR);
	CHECK(pwrite(config, &high, 1, 5) == 1);
	close(config);
	CHECK(ready(uio, 10000));
	CHECK(next_count() == 3);
	set_line(false);
}

static void on_signal(int sig)
{
}

static void *reader(void *arg)
{
	int32_t n;

	*(int *)arg = read(uio, &n, sizeof(n)) < 0 ? errno : 0;
	return NULL;
}

/* A read that waits is interrupted by a signal, and keeps nobody from writing. */
static void test_signal(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	pthread_t thread;
	int result = -1;

	begin();
	sigaction(SIGUSR1, &sa, NULL);
	pthread_create(&thread, NULL, reader, &result);
	usleep(20000);
	unmask(1);
	while (pthread_kill(thread, SIGUSR1) == 0 && pthread_tryjoin_np(thread, NULL))
		usleep(1000);
	CHECK(result == EINTR);
}

/* Each file has its own count of what it has seen; a child has its parent's file. */
static void test_files(void)
{
	int second, status;
	int32_t n;

	begin();
	set_line(true);
	CHECK(ready(uio, 10000)); /* which is before the time of the second */
	second = open("/dev/uio0", O_RDWR | O_NONBLOCK);
	set_line(false);
	unmask(1);
	set_line(true);
	CHECK(ready(second, 10000));
	if (!fork()) {
		CHECK(next_count() == 2);
		_exit(failures > 0);
	}
	CHECK(wait(&status) > 0 && status == 0);
	CHECK(!ready(uio, 0));
	CHECK(next_count_of(second) == 2);
	CHECK(read(second, &n, sizeof(n)) < 0 && errno == EAGAIN);
	close(uio);
	CHECK(regs[PCITEST_INTX / 4] == PCITEST_INTX_LEVEL); /* no reset yet */
	close(second);
	uio = open("/dev/uio0", O_RDWR);
	CHECK(regs[PCITEST_INTX / 4] == 0);
	set_line(true);
	CHECK(next_count() == 3); /* of the device, not of the file */
	set_line(false);
}

static uint32_t dma(uint32_t operation)
{
	uint32_t before = regs[PCITEST_DMA_COUNT / 4];

	*(volatile uint64_t *)&regs[PCITEST_DMA_ADDRESS / 4] = 0x100000;
	regs[PCITEST_DMA_LENGTH / 4] = 64;
	regs[PCITEST_DMA_BUFFER / 4] = 0;
	regs[PCITEST_DMA_COMMAND / 4] = operation;
	while (regs[PCITEST_DMA_COUNT / 4] == before)
		usleep(100);
	return regs[PCITEST_DMA_STATUS / 4];
}

static int set_vectors(unsigned index, unsigned count, int fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fds[2];
	} req = {.fds = {fd, fd}};

	req.set = (struct vfio_irq_set){
		.argsz = (uint32_t)(sizeof(req.set) + 4 * count),
		.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
			 (count ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.count = count,
	};
	return ioctl(uio, VFIO_DEVICE_SET_IRQS, &req);
}

/* Vectors are eventfds.  Bus mastering is on for them, and DMA faults all the same. */
static void test_vectors(void)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	int fd = eventfd(0, EFD_CLOEXEC), plain = open("/dev/null", O_RDWR);
	eventfd_t n;

	begin();
	CHECK(dma(PCITEST_CMD_WRITE) == PCITEST_FAILED);
	CHECK(!(command() & 4));
	CHECK(ioctl(uio, VFIO_DEVICE_GET_IRQ_INFO, &info) == 0 && info.count == 8);
	CHECK(ioctl(plain, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 && errno == ENOTTY);
	CHECK(set_vectors(VFIO_PCI_INTX_IRQ_INDEX, 1, fd) < 0 && errno == EINVAL);
	CHECK(set_vectors(VFIO_PCI_MSIX_IRQ_INDEX, 2, plain) < 0 && errno == EINVAL);
	CHECK(set_vectors(VFIO_PCI_MSIX_IRQ_INDEX, 2, fd) == 0);
	CHECK(command() & 4);
	regs[PCITEST_IRQ / 4] = 2;
	CHECK(read(fd, &n, sizeof(n)) == sizeof(n));
	CHECK(dma(PCITEST_CMD_WRITE) == PCITEST_FAILED);
	CHECK(dma(PCITEST_CMD_READ) == PCITEST_FAILED);
	/* What the table says is nobody's business: an address there is a wish, not a right. */
	regs[PCITEST_MSIX_TABLE / 4] = 0x1000;
	regs[PCITEST_IRQ / 4] = 1;
	CHECK(read(fd, &n, sizeof(n)) == sizeof(n));
	CHECK(set_vectors(VFIO_PCI_MSIX_IRQ_INDEX, 0, -1) == 0);
	CHECK(!(command() & 4));
	set_line(true);
	CHECK(next_count() == 1);
	set_line(false);
}

/* A device without an interrupt of its own; the count goes on. */
static void test_timer(void)
{
	begin();
	for (int32_t i = 1; i <= 5; i++) {
		CHECK(next_count() == i);
		unmask(1);
	}
}

/* Memory is mapped for reading and writing, and is the device's. */
static void test_memory(void)
{
	volatile uint32_t *memory, *again;

	begin();
	memory = map_bar(DEVICE "resource2", 4096);
	again = map_bar(DEVICE "resource2_wc", 4096);
	memory[7] = 0x12345678;
	CHECK(again[7] == 0x12345678);
	munmap((void *)(uintptr_t)again, 4096);
	munmap((void *)(uintptr_t)memory, 4096);
	close(uio);
}

static void on_bus(int sig)
{
	static const char text[] = "SIGBUS\n";

	_exit(write(1, text, sizeof(text) - 1) < 0);
}

/* Whoever serves the device (process UIO_SERVER) ends while its registers are mapped. */
static void test_ends(void)
{
	signal(SIGBUS, on_bus);
	begin();
	CHECK(kill(atoi(getenv("UIO_SERVER")), SIGTERM) == 0);
	/* The device is reset and taken apart meanwhile: a register that never changes has its
	 * value until there are none. */
	for (;;) {
		uint32_t id = regs[PCITEST_ID / 4];

		if (id == PCITEST_MAGIC || id == UINT32_MAX)
			continue;
		printf("FAIL the id reads %#x\n", id);
		failures++;
	}
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		void (*fn)(void);
	} tests[] = {
		{"line", test_line},       {"signal", test_signal}, {"files", test_files},
		{"vectors", test_vectors}, {"timer", test_timer},   {"memory", test_memory},
		{"ends", test_ends},
	};

	setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
		if (argc != 2 || strcmp(argv[1], tests[i].name) != 0)
			continue;
		tests[i].fn();
		return failures > 0;
	}
	printf("FAIL there is no such test\n");
	return 2;
}
