/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A vfio-user server with a small PCI device, for the tests of the driver side.  It runs in a
 * thread of the test and does what it is told, lies included: ->hook sees each command first.
 *
 * The device: BAR 0, 4 KiB of registers, not mappable; BAR 2, 8 KiB in a file of which the second
 * page can be mapped, with an eventfd for stores to bytes 64 to 127 of it; 256 bytes of config
 * space with two capabilities; 64 MSI-X vectors. Registers of BAR 0 that do something when they are
 * written:
 */
#ifndef TESTS_UNIT_DRIVER_SERVER_H
#define TESTS_UNIT_DRIVER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include "wire/protocol.h"

#define REG_DMA                                                                                    \
	0x100            /* an IOVA: read 64 bytes there, write them inverted behind them, then    \
			  * set REG_DONE and signal vector 0 */
#define REG_DONE   0x108 /* 1, or 0x80000000 | errno */
#define REG_NOTIFY 0x40  /* has an ioeventfd for value 7 */
#define DMA_LEN    64u

struct server_map {
	uint64_t address, size, offset;
	uint32_t flags;
	bool has_fd;
	uint8_t *mem; /* with an fd */
};

struct server_irq_message {
	uint32_t flags, index, start, count;
	unsigned fds;
};

struct server {
	/* What it is like: set before server_start(). */
	const char *version; /* the JSON of its VERSION; NULL: the default */
	unsigned max_fds;
	uint32_t max_xfer;
	bool twin, narrow; /* its DMA messages: on a second socket; QEMU 10.1's layout */
	bool write_multi;
	uint16_t device_id;
	/* Sees each command before the server: true, it has dealt with it. */
	bool (*hook)(struct server *s, const struct vfio_user_header *h, uint8_t *payload, int *fds,
		     unsigned nr_fds);
	void *hook_arg;

	/* What happened: read it under ->lock, which the server holds while it deals with a
	 * command. */
	pthread_mutex_t lock;
	unsigned commands[VFIO_USER_COMMANDS], posted[VFIO_USER_COMMANDS];
	struct server_map maps[64];
	unsigned nr_maps;
	struct server_irq_message irqs[128];
	unsigned nr_irqs;
	int eventfds[64];
	int notify_fd;

	char path[108];
	pthread_mutex_t fd_lock; /* of the two descriptors of the connection */
	int listen_fd, fd, twin_fd;
	int bar2_fd;
	uint8_t bar0[4096], config[256];
	pthread_t thread;
	atomic_bool stop;
	bool running;
};

/* Defaults, a path for the socket. */
void server_init(struct server *s);
void server_start(struct server *s);
/* End the thread and the connection, as if the process had been killed.  The socket's path is
 * removed. */
void server_stop(struct server *s);
void server_fini(struct server *s);

/* For hooks. */
void server_send(int fd, const void *message, size_t len, const int *fds, unsigned nr_fds);
void server_reply(struct server *s, const struct vfio_user_header *h, const void *payload,
		  size_t len, const int *fds, unsigned nr_fds);
void server_error(struct server *s, const struct vfio_user_header *h, uint32_t error);
void server_hang_up(struct server *s);
/* DMA of the device: by the mapped file, or by messages.  0 or the errno of the client. */
int server_dma(struct server *s, uint64_t iova, void *buf, uint32_t len, bool write);

#endif
