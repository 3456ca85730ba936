/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <linux/pci_regs.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "support/send_fds.h"
#include "vfio/vfio.h"
#include "wire/protocol.h"
#include "wire/wire.h"
#include "wire_model.h"
#include "wire_talk.h"

#define SPINS 4000u /* about a millisecond */

void talk_die(const char *what)
{
	fprintf(stderr, "bench-wire: %s: %s\n", what, strerror(errno));
	exit(2);
}

int talk_listen(struct place *place)
{
	struct sockaddr *addr = (struct sockaddr *)&place->addr;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	*place = (struct place){{.sun_family = AF_UNIX}, sizeof(place->addr)};
	/* A name of the kernel's. */
	if (fd < 0 || bind(fd, addr, sizeof(sa_family_t)) || listen(fd, 64) ||
	    getsockname(fd, addr, &place->len))
		talk_die("listen");
	return fd;
}

pid_t talk_serve(const struct uvfio_model *m, const char *spec, const int *fds, unsigned n,
		 unsigned spin_us, int cpu)
{
	struct vfio_policy policy;
	struct wire_options options;
	struct uvfio_error err = {""};
	struct vfio_machine *machine;
	struct wire_server *server;
	struct vfio_device **devs = calloc(n, sizeof(struct vfio_device *));
	int ready[2];
	char c = 0;
	pid_t pid;

	if (pipe(ready))
		talk_die("pipe");
	pid = fork();
	if (pid) {
		close(ready[1]);
		free(devs);
		if (pid < 0 || read(ready[0], &c, 1) != 1)
			talk_die("the server did not start");
		close(ready[0]);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
	pair_pin(cpu);
	signal(SIGPIPE, SIG_IGN);
	vfio_policy_default(&policy);
	policy.dma_entry_limit = MAPS + 1000;
	machine = vfio_machine_new(&policy, NULL, &err);
	if (!machine || vfio_machine_add_model(machine, m))
		talk_die("machine");
	for (unsigned i = 0; i < n; i++) {
		if (vfio_machine_add_device(machine, spec, &err)) {
			fprintf(stderr, "%s\n", err.msg);
			exit(2);
		}
	}
	server = wire_server_new(machine, NULL, &err);
	vfio_machine_devices(machine, devs, n);
	wire_options_default(&options);
	if (spin_us != TALK_USUAL)
		options.spin_us = spin_us;
	for (unsigned i = 0; i < n; i++) {
		struct wire_listener *listener;

		if (wire_listen(server, vfio_device_name(devs[i]), fds[i], &options, &listener,
				&err)) {
			fprintf(stderr, "%s\n", err.msg);
			exit(2);
		}
	}
	if (write(ready[1], &c, 1) != 1)
		talk_die("write");
	for (;;)
		pause();
}

void talk_end(pid_t pid)
{
	kill(pid, SIGTERM);
	waitpid(pid, NULL, 0);
}

void talk_ask(int fd, unsigned command, const void *payload, size_t len, const int *fds,
	      unsigned nr_fds, uint32_t flags)
{
	struct vfio_user_header hdr = {.command = (uint16_t)command,
				       .size = (uint32_t)(sizeof(hdr) + len),
				       .flags = flags};
	struct iovec iov[2] = {{&hdr, sizeof(hdr)}, {(void *)(uintptr_t)payload, len}};

	if (sendmsg_fds(fd, iov, 2, fds, nr_fds) != (ssize_t)hdr.size)
		talk_die("sendmsg");
}

void talk_answered(int fd, enum waiting how)
{
	static uint8_t rest[1 << 17];
	struct vfio_user_header hdr;

	pair_take(fd, -1, &hdr, sizeof(hdr), how);
	pair_take(fd, -1, rest, hdr.size - sizeof(hdr), how);
	if (hdr.flags & VFIO_USER_ERROR) {
		fprintf(stderr, "bench-wire: command %u: %s\n", hdr.command,
			strerror((int)hdr.error));
		exit(2);
	}
}

void talk_version(int fd)
{
	static const char json[] = "{\"capabilities\":{\"max_msg_fds\":253,"
				   "\"max_dma_maps\":1001000}}";
	char payload[4 + sizeof(json)] = {0, 0, 1, 0};

	memcpy(payload + 4, json, sizeof(json));
	talk_ask(fd, VFIO_USER_VERSION, payload, sizeof(payload), NULL, 0, 0);
	talk_answered(fd, BLOCK);
}

int talk_dial(const struct place *place)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)&place->addr, place->len))
		talk_die("connect");
	return fd;
}

int talk_attach(const struct place *place)
{
	struct {
		struct vfio_user_region_access a;
		uint16_t command;
	} __attribute__((packed)) enable = {
		{PCI_COMMAND, VFIO_PCI_CONFIG_REGION_INDEX, 2},
		PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER,
	};
	int fd = talk_dial(place);

	talk_version(fd);
	talk_ask(fd, VFIO_USER_REGION_WRITE, &enable, sizeof(enable), NULL, 0, 0);
	talk_answered(fd, BLOCK);
	return fd;
}

/* ---- bare ---- */

unsigned talk_receive(int fd, int *fds, unsigned max)
{
	union {
		char bytes[CMSG_SPACE(SEND_FDS_MAX * sizeof(int))];
		struct cmsghdr align;
	} control;
	char buf[256];
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	unsigned tries = 0;
	size_t len;
	ssize_t n;

	do {
		m.msg_control = control.bytes;
		m.msg_controllen = CMSG_SPACE(max * sizeof(int));
		n = recvmsg(fd, &m, (tries < SPINS ? MSG_DONTWAIT : 0) | MSG_CMSG_CLOEXEC);
	} while (n < 0 && errno == EAGAIN && tries++ < SPINS);
	if (n <= 0 || m.msg_controllen < CMSG_LEN(0))
		_exit(0);
	len = control.align.cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(&control.align), len);
	return (unsigned)(len / sizeof(int));
}

int talk_bare(void (*fn)(int fd))
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		talk_die("socketpair");
	pid = fork();
	if (pid < 0)
		talk_die("fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pair[0]);
		pair_pin(1);
		for (;;)
			fn(pair[1]);
	}
	close(pair[1]);
	return pair[0];
}
