/* SPDX-License-Identifier: BSD-3-Clause */
/* The files of a device for others than its owner, and while it is in use through VFIO. */
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "probe.h"

static int open_device(int *container, int *group)
{
	char link[512], path[64];
	ssize_t n = readlink(full("@iommu_group"), link, sizeof(link) - 1);

	if (n < 0)
		return -1;
	link[n] = '\0';
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	*container = open("/dev/vfio/vfio", O_RDWR | O_CLOEXEC);
	*group = open(path, O_RDWR | O_CLOEXEC);
	if (*group < 0 || ioctl(*group, VFIO_GROUP_SET_CONTAINER, container) ||
	    ioctl(*container, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return -1;
	return ioctl(*group, VFIO_GROUP_GET_DEVICE_FD, device);
}

void in_use(void)
{
	char set_bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)set_bytes;
	int container = -1, group = -1, fd, req = eventfd(0, EFD_CLOEXEC);
	uint64_t count;
	int status = 0;
	pid_t pid;

	fd = open_device(&container, &group);
	if (fd < 0) {
		printf("in use: %s\n", result(-1));
		return;
	}
	show("@enable");
	put("@enable", "1");
	put("@reset", "1");
	printf("bind while in use: %s\n",
	       result(put_bytes("bus/pci/drivers/vfio-pci/bind", device, strlen(device), 0)));
	*set = (struct vfio_irq_set){sizeof(set_bytes),
				     VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				     VFIO_PCI_REQ_IRQ_INDEX, 0, 1};
	memcpy(set->data, &req, sizeof(req));
	printf("set REQ: %s\n", result(ioctl(fd, VFIO_DEVICE_SET_IRQS, set)));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		ssize_t n;

		close(fd);
		close(group);
		close(container);
		n = put_bytes("bus/pci/drivers/vfio-pci/unbind", device, strlen(device), 0);
		_exit(n == (ssize_t)strlen(device) ? 0 : 1);
	}
	if (read(req, &count, sizeof(count)) == sizeof(count))
		printf("unbind while in use: asked for it\n");
	printf("and waits: %s\n", waitpid(pid, &status, WNOHANG) ? "no" : "yes");
	close(fd);
	close(group);
	close(container);
	waitpid(pid, &status, 0);
	printf("unbound when it is closed: %s\n",
	       WIFEXITED(status) && !WEXITSTATUS(status) ? "yes" : "no");
	mode("@driver");
	fd = open_device(&container, &group);
	printf("open when unbound: %s\n", fd < 0 ? "fails" : "ok");
	printf("bind: %s\n",
	       result(put_bytes("bus/pci/drivers/vfio-pci/bind", device, strlen(device), 0)));
	close(group);
	close(container);
	fd = open_device(&container, &group);
	printf("open when bound: %s\n", fd < 0 ? result(-1) : "ok");
	close(fd);
	close(group);
	close(container);
	close(req);
}

static void on_signal(int sig)
{
}

/* A kernel's unbind cannot be interrupted. */
void interrupted(void)
{
	char set_bytes[sizeof(struct vfio_irq_set) + sizeof(int)];
	struct vfio_irq_set *set = (struct vfio_irq_set *)set_bytes;
	int container = -1, group = -1, fd, req = eventfd(0, EFD_CLOEXEC), status = 0;
	struct sigaction act = {.sa_handler = on_signal};
	uint64_t count;
	pid_t pid;

	fd = open_device(&container, &group);
	*set = (struct vfio_irq_set){sizeof(set_bytes),
				     VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
				     VFIO_PCI_REQ_IRQ_INDEX, 0, 1};
	memcpy(set->data, &req, sizeof(req));
	ioctl(fd, VFIO_DEVICE_SET_IRQS, set);
	fflush(stdout);
	pid = fork();
	if (!pid) {
		close(fd);
		close(group);
		close(container);
		sigaction(SIGUSR1, &act, NULL);
		_exit(put_bytes("bus/pci/drivers/vfio-pci/unbind", device, strlen(device), 0) < 0
			      ? errno
			      : 0);
	}
	if (read(req, &count, sizeof(count)) != sizeof(count))
		printf("not asked\n");
	form("@vendor");
	kill(pid, SIGUSR1);
	waitpid(pid, &status, 0);
	printf("interrupted unbind: %s\n",
	       WIFEXITED(status) ? strerrorname_np(WEXITSTATUS(status)) : "killed");
	close(fd);
	close(group);
	close(container);
	close(req);
	printf("bind: %s\n",
	       result(put_bytes("bus/pci/drivers/vfio-pci/bind", device, strlen(device), 0)));
}

void stranger(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		unsigned char bytes[4096];
		int fd;

		if (setgid(65533) || setuid(65533))
			_exit(1);
		fd = open(full("@config"), O_RDONLY | O_CLOEXEC);
		printf("stranger: config read 4096: %s\n", result(pread(fd, bytes, 4096, 0)));
		printf("stranger: config read 8 at 60: %s\n", result(pread(fd, bytes, 8, 60)));
		printf("stranger: config read at 64: %s\n", result(pread(fd, bytes, 8, 64)));
		printf("stranger: open config to write: %s\n",
		       open(full("@config"), O_RDWR) < 0 ? result(-1) : "ok");
		printf("stranger: open resource0: %s\n",
		       open(full("@resource0"), O_RDONLY) < 0 ? result(-1) : "ok");
		printf("stranger: open reset: %s\n",
		       open(full("@reset"), O_WRONLY) < 0 ? result(-1) : "ok");
		form("@vendor");
		fflush(stdout);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
}
