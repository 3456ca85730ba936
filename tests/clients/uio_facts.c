// SPDX-License-Identifier: BSD-3-Clause
/*
 * uio_facts ADDRESS: what a program meets that drives the NVMe controller at ADDRESS through
 * uio_pci_generic, one fact a line, "what: answer".  Run on a real kernel (scripts/kernel-uio) and
 * under `uvfio run`, and the two compared.  Leaves the device removed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PCI     "/sys/bus/pci"
#define DRIVER  "uio_pci_generic"
#define COMMAND 4
#define MASTER  4
#define MEMORY  2
#define VERSION 8 /* a register of NVMe's that is never 0 or all ones */

static const char *addr;

static void fact(const char *what, long ret)
{
	if (ret < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, ret);
}

static int put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), e;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	e = errno;
	close(fd);
	errno = e;
	return n == (ssize_t)strlen(text) ? 0 : -1;
}

static const char *of_device(const char *name)
{
	static char path[8][256];
	static unsigned n;
	char *p = path[n++ % 8];

	snprintf(p, sizeof(path[0]), PCI "/devices/%s/%s", addr, name);
	return p;
}

static int driver_put(const char *driver, const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), PCI "/drivers/%s/%s", driver, file);
	return put(path, addr);
}

static void show(const char *what, const char *path)
{
	char text[256];
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n < 0) {
		fact(what, -1);
	} else {
		text[n] = '\0';
		text[strcspn(text, "\n")] = '\0';
		printf("%s: %s\n", what, text);
	}
	if (fd >= 0)
		close(fd);
}

static unsigned command(void)
{
	uint16_t value = 0xffff;
	int fd = open(of_device("config"), O_RDONLY);

	if (fd < 0 || pread(fd, &value, 2, COMMAND) != 2)
		printf("config cannot be read\n");
	close(fd);
	return value;
}

static void set_command(unsigned value)
{
	uint16_t word = (uint16_t)value;
	int fd = open(of_device("config"), O_RDWR);

	if (fd < 0 || pwrite(fd, &word, 2, COMMAND) != 2)
		printf("config cannot be written\n");
	close(fd);
}

static sigjmp_buf jump;

static void on_bus(int sig)
{
	siglongjmp(jump, 1);
}

/* Does the register read as itself, as ones, or not at all? */
static void look(const char *what, volatile uint32_t *bar)
{
	struct sigaction sa = {.sa_handler = on_bus};
	uint32_t value;

	sigaction(SIGBUS, &sa, NULL);
	if (sigsetjmp(jump, 1)) {
		printf("%s: SIGBUS\n", what);
		return;
	}
	value = bar[VERSION / 4];
	printf("%s: %s\n", what, !value ? "0" : value == ~0u ? "ones" : "a register");
}

static void *map(int fd, size_t len, int prot, int flags, off_t offset)
{
	void *p = mmap(NULL, len, prot, flags, fd, offset);

	return p;
}

static void map_fact(const char *what, int fd, size_t len, int prot, int flags, off_t offset)
{
	void *p = map(fd, len, prot, flags, offset);

	fact(what, p == MAP_FAILED ? -1 : 0);
	if (p != MAP_FAILED)
		munmap(p, len);
}

static void binding(void)
{
	if (put(of_device("driver_override"), DRIVER))
		fact("override", -1);
	driver_put("vfio-pci", "unbind");
	fact("bind", driver_put(DRIVER, "bind"));
	fact("bind again", driver_put(DRIVER, "bind"));
	fact("bind to vfio-pci against the override", driver_put("vfio-pci", "bind"));
	put(of_device("driver_override"), "vfio-pci");
	fact("bind to vfio-pci while uio has it", driver_put("vfio-pci", "bind"));
	put(of_device("driver_override"), DRIVER);
	fact("enable by the host", put(of_device("enable"), "1"));
	show("enable", of_device("enable"));
	fact("memory is on", !!(command() & MEMORY));
	show("name", "/sys/class/uio/uio0/name");
	show("version", "/sys/class/uio/uio0/version");
	show("event", "/sys/class/uio/uio0/event");
	show("maps", "/sys/class/uio/uio0/maps");
	fact("it is in the device's folder", access(of_device("uio/uio0/name"), F_OK));
	fact("and that in it", access("/sys/class/uio/uio0/device/config", F_OK));
}

static void io(int fd)
{
	static const size_t sizes[] = {0, 1, 2, 3, 5, 8, 4096};
	struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI, 0};
	char buf[4096] = "", what[64];
	int32_t on = 1;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		snprintf(what, sizeof(what), "read of %zu", sizes[i]);
		fact(what, read(fd, buf, sizes[i]));
		snprintf(what, sizeof(what), "write of %zu", sizes[i]);
		fact(what, write(fd, buf, sizes[i]));
	}
	fact("write of 1", write(fd, &on, sizeof(on)));
	fact("poll", poll(&p, 1, 0));
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fact("read that would wait", read(fd, buf, 4));
	fact("pread that would wait", pread(fd, buf, 4, 0));
	fact("ioctl", ioctl(fd, 0x1234, 0));
	fact("lseek", lseek(fd, 0, SEEK_CUR));
	map_fact("mmap", fd, 4096, PROT_READ, MAP_SHARED, 0);
	map_fact("mmap of number 1", fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 4096);
}

/* Returns a mapping that stays. */
static void *resources(void)
{
	int fd = open(of_device("resource0"), O_RDWR), ro = open(of_device("resource0"), O_RDONLY);
	char buf[4];
	struct stat st;
	void *bar;

	if (fd < 0 || ro < 0 || fstat(fd, &st)) {
		fact("resource0", -1);
		exit(1);
	}
	printf("mode: %o\n", st.st_mode & 07777);
	fact("resource0 is read", read(fd, buf, 4));
	fact("resource0 is written", write(fd, buf, 4));
	map_fact("all of it", fd, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	map_fact("more", fd, (size_t)st.st_size + 1, PROT_READ, MAP_SHARED, 0);
	map_fact("behind it", fd, 4096, PROT_READ, MAP_SHARED, st.st_size);
	map_fact("its second page", fd, 4096, PROT_READ, MAP_SHARED, 4096);
	map_fact("a part and more", fd, (size_t)st.st_size, PROT_READ, MAP_SHARED, 4096);
	map_fact("for writing, open for reading", ro, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	map_fact("for reading, open for reading", ro, 4096, PROT_READ, MAP_SHARED, 0);
	map_fact("resource0_wc", open(of_device("resource0_wc"), O_RDWR), 4096, PROT_READ,
		 MAP_SHARED, 0);
	bar = map(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
	close(fd);
	close(ro);
	if (bar == MAP_FAILED)
		exit(1);
	look("mapped", bar);
	return bar;
}

static void unbound(int fd, void *bar)
{
	struct pollfd p = {fd, POLLIN, 0};
	int32_t word = 1;

	fact("unbind while it is open", driver_put(DRIVER, "unbind"));
	fact("unbind again", driver_put(DRIVER, "unbind"));
	fact("read of one that is unbound", read(fd, &word, 4));
	fact("its poll", poll(&p, 1, 0));
	fact("its write", write(fd, &word, 4));
	fact("its write of 2", write(fd, &word, 2));
	map_fact("its mmap", fd, 4096, PROT_READ, MAP_SHARED, 0);
	fact("open when it is unbound", open("/dev/uio0", O_RDWR));
	look("mapped when it is unbound", bar);
}

static void removed(void *bar)
{
	int fd = open(of_device("resource0"), O_RDWR);

	fact("remove", put(of_device("remove"), "1"));
	look("mapped when it is removed", bar);
	map_fact("mmap when it is removed", fd, 4096, PROT_READ, MAP_SHARED, 0);
	fact("resource0 is gone", access(of_device("resource0"), F_OK));
}

int main(int argc, char **argv)
{
	int fd, second;
	void *bar;

	if (argc != 2)
		return 2;
	addr = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	binding();
	fd = open("/dev/uio0", O_RDWR);
	second = open("/dev/uio0", O_RDWR);
	fact("open", fd < 0 ? -1 : 0);
	fact("open again", second < 0 ? -1 : 0);
	close(second);
	io(fd);
	bar = resources();
	set_command(command() & ~MEMORY & 0xffff);
	look("mapped with memory off", bar);
	set_command(command() | MEMORY);
	look("mapped with memory on", bar);
	set_command(command() | MASTER);
	fact("bus mastering as the host has set it", !!(command() & MASTER));
	close(fd);
	/* What close does may come a moment later. */
	for (unsigned i = 0; i < 1000 && command() & MASTER; i++)
		usleep(1000);
	fact("bus mastering when it is closed", !!(command() & MASTER));
	look("mapped when it is closed", bar);
	fd = open("/dev/uio0", O_RDWR | O_NONBLOCK);
	unbound(fd, bar);
	close(fd);
	put(of_device("driver_override"), "vfio-pci");
	fact("bind to vfio-pci", driver_put("vfio-pci", "bind"));
	look("mapped when vfio-pci has it", bar);
	removed(bar);
	printf("end: 0\n");
	return 0;
}
