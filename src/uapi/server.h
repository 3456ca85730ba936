/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * S: the server behind a run.  Private to src/uapi.
 *
 * Threads: the main thread (server.c) starts everything, watches the program and ends everything.
 * Receivers (receive.c) answer the program's system calls; the janitor (closing.c) releases what
 * was closed.  Everything in struct uapi_server is constant after start, but what says otherwise.
 */
#ifndef UVFIO_UAPI_SERVER_H
#define UVFIO_UAPI_SERVER_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "uapi/core.h"
#include "uapi/memory.h"
#include "uapi/uapi.h"

struct uapi_files;
struct uapi_kept;
struct uapi_migrations;
struct uapi_shadow;
struct uapi_tasks;
struct uapi_pool;
struct uapi_served;
struct uapi_sysfs;
struct uapi_trace;

struct uapi_server {
	const struct uapi_config *config;
	struct uapi_core *core;
	struct vfio_machine *machine; /* NULL: another process has it */
	struct uvfio_log *log;
	struct uapi_trace *trace; /* NULL: none */
	struct uapi_files *files;
	struct uapi_tasks *tasks;
	struct uapi_pool *pool;
	struct memory_cache *memory;
	struct uapi_sysfs *sysfs;       /* NULL: /sys is served, or out of memory */
	struct uapi_served *served_sys; /* NULL: it is not */
	dev_t sys_dev;                  /* of its files */
	struct vfio_who who;            /* its clients, for listings */
	struct uapi_migrations *migrations; /* NULL: devices offer none */
	struct uapi_shadow *shadow;     /* of --sandbox paths; NULL: the program has mounts */
	struct uapi_kept *kept;         /* NULL: eventfds can be had when they are named */
	/* The program calls chroot: a process's root may be another than ours. */
	atomic_bool roots_vary;
	int listener;
	int nodes;    /* the directory /dev/vfio of the program's namespace */
	int devdir;   /* the one that it covers, for what is open; -1: ->shadow has that */
	int iommudir; /* the one that /dev covers, for open iommufds */
	/* A program that opened /dev/kvm: registers are not offered for mapping any more. */
	atomic_bool kvm_seen;
	struct uvfio_trash *trash; /* files of the program's that were taken for eventfds */
	struct uvfio_ratelimit hidden_tasks, hidden_fds, refused_mmaps, fatal,
		unseen_opens; /* of messages */
};

/* The body of S.  @up: the socket to P0; @mask: the signal mask for the program.  Returns the exit
 * status of S. */
int uapi_server_main(const struct uapi_config *config, int up, const sigset_t *mask);

/* The body of C: @sock leads to S.  Never returns. */
_Noreturn void uapi_child_main(const struct uapi_config *config, int sock, const sigset_t *mask);

/* bar_memory.c: a memory cache that knows the devices of @server, whose files are open by the time that
 * something is imported.  NULL when out of memory. */
struct memory_cache *uapi_memory_cache(struct uapi_server *server);

#endif
