/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A driver of the test device that is at work while its server is restarted or exchanged.
 *
 *	upgrade-client SOCKET COMMANDS [LOSSES]
 *
 * Moves a page to the device and back, again and again, and compares; each command ends with an
 * interrupt.  Does COMMANDS of these, and then as many more as it takes until the server has been
 * lost LOSSES times (0).  When it is lost, it has to come back with the device as it was: what a
 * register held it holds, a command that was under way ends, and nothing is initialised again.
 * Prints "working" when there is load, "lost" and "continued" then, and at its end "done N" (how
 * often the server was lost).  0: all was right.
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <uvfio/driver.h>
#include "devices/pcitest/pcitest_spec.h"

#define BAR     UVFIO_PCI_BAR0
#define BYTES   4096u
#define CACHE   0x2a
#define SCRATCH 0x0123456789abcdefull

static struct uvfio_pci *dev;
static int irq;
static unsigned lost;

static _Noreturn void die(const char *what, const char *why)
{
	printf("failed: %s: %s\n", what, why);
	exit(1);
}

static int put(uint64_t offset, uint64_t value, size_t size)
{
	ssize_t n = uvfio_pci_write(dev, BAR, offset, &value, size);

	return n < 0 ? (int)n : 0;
}

static int get(uint64_t offset, uint32_t *value)
{
	ssize_t n = uvfio_pci_read(dev, BAR, offset, value, sizeof(*value));

	return n < 0 ? (int)n : 0;
}

/* What nobody writes in between: -errno when the server is lost. */
static int still_there(void)
{
	uint64_t scratch;
	uint32_t cache;
	int ret = uvfio_pci_config_read(dev, PCI_CACHE_LINE_SIZE, 1, &cache);

	if (!ret && cache != CACHE)
		die("config space", "it was reset");
	if (!ret && uvfio_pci_read(dev, BAR, PCITEST_SCRATCH, &scratch, 8) == 8 &&
	    scratch != SCRATCH)
		die("a register", "it was reset");
	return ret;
}

static int set_up(void)
{
	struct uvfio_error err;
	int ret = uvfio_pci_irq_enable(dev, UVFIO_PCI_MSIX, 0, 1, &irq);

	return ret ? ret : uvfio_pci_enable(dev, &err);
}

static void come_back(void)
{
	struct uvfio_error err = {""};
	int ret;

	lost++;
	printf("lost\n");
	do {
		ret = uvfio_pci_reconnect(dev, 20000, &err);
		/* A server that is ending says that it has no device any more. */
		if (ret == -ENODEV)
			continue;
		if (ret && ret != -ENOTCONN)
			die("reconnect", err.msg);
		if (!ret && !uvfio_pci_continued(dev))
			die("reconnect", "the device begins anew");
		if (!ret)
			ret = still_there();
		if (!ret)
			ret = set_up();
		if (ret && ret != -ENOTCONN)
			die("setting up", strerror(-ret));
	} while (ret);
	printf("continued\n");
}

static int start(uint64_t iova, uint32_t command)
{
	int ret = put(PCITEST_DMA_ADDRESS, iova, 8);

	if (!ret)
		ret = put(PCITEST_DMA_LENGTH, BYTES, 4);
	if (!ret)
		ret = put(PCITEST_DMA_BUFFER, 0, 4);
	return ret ? ret : put(PCITEST_DMA_COMMAND, command | PCITEST_CMD_IRQ, 4);
}

/* The command number @count has been started, perhaps: has it ended?  1: no; 0: yes; -errno. */
static int look(uint32_t count)
{
	uint32_t now, status;
	int ret = get(PCITEST_DMA_COUNT, &now);

	if (!ret)
		ret = get(PCITEST_DMA_STATUS, &status);
	if (ret)
		return ret;
	if (now > count)
		die("commands", "more have ended than were started");
	if (now == count && status == PCITEST_FAILED)
		die("a command", "it failed");
	return now != count;
}

/* Wait for its interrupt, or until the server is lost: -ENOTCONN. */
static int wait_for(uint32_t count)
{
	struct pollfd fds[] = {{irq, POLLIN, 0}, {uvfio_pci_lost_fd(dev), POLLIN, 0}};
	int n = poll(fds, 2, 20000), ret;

	if (!n)
		die("an interrupt", "it does not come");
	if (fds[1].revents)
		return -ENOTCONN;
	uvfio_pci_irq_take(irq);
	ret = look(count);
	/* One of the command before may have come late. */
	return ret == 1 ? wait_for(count) : ret;
}

static void do_command(uint64_t iova, uint32_t command, uint32_t count)
{
	int ret = start(iova, command);

	for (;;) {
		uint32_t status = PCITEST_IDLE;

		if (!ret)
			ret = wait_for(count);
		if (!ret)
			return;
		if (ret != -ENOTCONN)
			die("a command", strerror(-ret));
		come_back();
		/* First the status: it may end between the two. */
		ret = get(PCITEST_DMA_STATUS, &status);
		if (!ret)
			ret = look(count);
		if (!ret)
			return;
		/* The server may have gone before it took it. */
		if (ret == 1)
			ret = status == PCITEST_BUSY ? 0 : start(iova, command);
	}
}

int main(int argc, char **argv)
{
	const uint64_t scratch = SCRATCH;
	struct uvfio_pci_mem mem;
	struct uvfio_error err = {""};
	unsigned commands, losses;
	uint32_t count = 0;
	uint32_t *words;

	if (argc < 3)
		return 2;
	commands = (unsigned)strtoul(argv[2], NULL, 10);
	losses = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (uvfio_pci_open(argv[1], "continue=yes,posted=no,mmap=no", &dev, &err))
		die("open", err.msg);
	if (uvfio_pci_dma_alloc(dev, (size_t)2 * BYTES, UVFIO_PCI_DMA_READ | UVFIO_PCI_DMA_WRITE,
				&mem, &err))
		die("memory", err.msg);
	words = mem.addr;
	if (set_up() || uvfio_pci_config_write(dev, PCI_CACHE_LINE_SIZE, 1, CACHE) ||
	    uvfio_pci_write(dev, BAR, PCITEST_SCRATCH, &scratch, 8) != 8)
		die("setting up", "the server has gone");
	printf("working\n");
	while (count < commands || lost < losses) {
		for (unsigned i = 0; i < BYTES / 4; i++)
			words[i] = count * 1000003u + i;
		do_command(mem.iova, PCITEST_CMD_READ, ++count);
		do_command(mem.iova + BYTES, PCITEST_CMD_WRITE, ++count);
		if (memcmp(words, words + BYTES / 4, BYTES) != 0)
			die("data", "what came back is not what went");
		if (count % 64 == 0 && still_there())
			come_back();
	}
	printf("done %u\n", lost);
	uvfio_pci_close(dev);
	return 0;
}
