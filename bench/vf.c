/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening VFs, of an NVMe controller on memory, that nobody has: by their sockets, and by their
 * groups with a token.  bench-vf UVFIO.
 *
 *	bench-vf --program: what runs under `uvfio run` and opens VFs there
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <uvfio/driver.h>

#include "bench.h"

#define VFS      64u
#define OPENINGS 15u
#define TOKEN    "2ab74924-c335-45f4-9b16-8569e5b08258"

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench-vf: %s\n", what);
	exit(2);
}

/* ---- under `uvfio run` ---- */

/* The VF's group is its number and 2: the PF's is 1. */
static double open_by_group(unsigned vf)
{
	char path[32], name[96];
	int container, group, device;
	uint64_t start = bench_ns();

	snprintf(path, sizeof(path), "/dev/vfio/%u", vf + 2);
	snprintf(name, sizeof(name), "0000:01:%02x.%u vf_token=" TOKEN, (vf + 1) / 8, (vf + 1) % 8);
	container = open("/dev/vfio/vfio", O_RDWR);
	group = open(path, O_RDWR);
	if (ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		die("a container");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
	start = bench_ns() - start;
	if (device < 0)
		die(strerror(errno));
	close(device);
	close(group);
	close(container);
	return (double)start / 1e6;
}

static int program(void)
{
	double ms[OPENINGS];

	open_by_group(OPENINGS);
	for (unsigned i = 0; i < OPENINGS; i++)
		ms[i] = open_by_group(i);
	printf("%f\n", bench_median(ms, OPENINGS));
	return 0;
}

static double openings_by_group(const char *uvfio, const char *self)
{
	char command[1024], line[64] = "";
	FILE *f;

	snprintf(command, sizeof(command),
		 "'%s' run --sysfs off --policy enable_sriov=Y --device "
		 "nvme,memory=64M,vfs=%u,numvfs=%u,vf_token=" TOKEN " -- '%s' --program",
		 uvfio, VFS, VFS, self);
	f = popen(command, "r");
	if (!f || !fgets(line, sizeof(line), f) || pclose(f))
		die("the run has failed");
	return atof(line);
}

/* ---- by sockets ---- */

static double open_by_socket(const char *folder, unsigned vf)
{
	struct uvfio_error err;
	struct uvfio_pci *dev;
	uint64_t start;
	char name[96];

	snprintf(name, sizeof(name), "unix:%s/vf-%u", folder, vf);
	start = bench_ns();
	if (uvfio_pci_open(name, NULL, &dev, &err))
		die(err.msg);
	start = bench_ns() - start;
	uvfio_pci_close(dev);
	return (double)start / 1e6;
}

/* ---- */

static pid_t start_server(const char *uvfio, const char *folder)
{
	char device[320];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	snprintf(device, sizeof(device),
		 "nvme,memory=256M,vfs=%u,numvfs=%u,driver=nvme,socket=%s/pf,vf-sockets=%s/vf-%%u",
		 VFS, VFS, folder, folder);
	execl(uvfio, uvfio, "serve", "--control", "off", "--device", device, (char *)NULL);
	_exit(127);
}

int main(int argc, char **argv)
{
	char folder[] = "/tmp/bench-vf-XXXXXX", last[64];
	struct bench_case opening = {.unit = "ms",
				     .want = BENCH_AT_MOST,
				     .limit = 1,
				     .what = "by its socket: connect, and all questions"};
	double ms[OPENINGS];
	int status, missed = 0;
	pid_t server;

	if (argc == 2 && !strcmp(argv[1], "--program"))
		return program();
	if (argc != 2) {
		fprintf(stderr, "usage: bench-vf UVFIO (the command)\n");
		return 2;
	}
	if (!mkdtemp(folder))
		die("no folder in /tmp");
	server = start_server(argv[1], folder);
	snprintf(last, sizeof(last), "%s/vf-%u", folder, VFS - 1);
	while (access(last, F_OK)) {
		if (waitpid(server, &status, WNOHANG) == server)
			die("the server has not started");
		usleep(10000);
	}
	for (unsigned i = 0; i < OPENINGS; i++)
		ms[i] = open_by_socket(folder, i);
	printf("opening a VF of %u (medians of %u)\n", VFS, OPENINGS);
	opening.median = bench_median(ms, OPENINGS);
	missed += bench_print(&opening);
	opening.what = "by its group: container, group, device with a token";
	opening.median = openings_by_group(argv[1], argv[0]);
	missed += bench_print(&opening);
	kill(server, SIGTERM);
	waitpid(server, &status, 0);
	rmdir(folder);
	return missed ? 1 : 0;
}
