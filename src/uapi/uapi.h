/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 1: run an unmodified program that finds /dev/vfio and drives software devices.
 *
 * Theory of operation.  Three processes:
 *
 *   P0, the process that the user started, supervises: it forwards signals, stops and continues
 * with the program, and ends as the program ended. S, its child, is the server: machine, device
 * loops, and the threads that answer.  It has left the session, so that no signal of the terminal
 * reaches it. C, a child of S in P0's process group, makes a mount namespace with /dev/vfio and the
 * devices' part of /sys, installs a seccomp filter that turns the system calls of VFIO into
 *       notifications, hands its listener to S, and becomes the program.
 *
 *   shell ── P0 ──socketpair── S ──listener── C = PROGRAM and its descendants
 *
 * Where C is refused a mount namespace, the calls that take a path are trapped as well (shadow.h).
 *
 * Files: run.c is P0, server.c the main thread of S, child.c is C.  mounts.c and tree.c make what C
 * sees, or shadow.c and walk.c in their place; filter.c what it traps.  receive.c, request.c and
 * the request_*.c answer; files.c knows which fd is what and when it has gone; task*.c, vma.c and
 * memory.c reach into the client.
 */
#ifndef UVFIO_UAPI_UAPI_H
#define UVFIO_UAPI_UAPI_H

#include <stdbool.h>
#include "vfio/vfio.h"

/* What `uvfio` itself exits with when it fails, as env(1) and timeout(1) do; 126 and 127 are a
 * program that cannot be executed or was not found. */
#define UAPI_EXIT_FAILURE 125

struct uapi_core;

/* Is the program's /sys a file system that can be written (sysfs/sysfs.h)? */
enum uapi_sys {
	UAPI_SYS_AUTO, /* where that is possible; else plain files */
	UAPI_SYS_ON,   /* or the run fails */
	UAPI_SYS_OFF,  /* plain files */
};

/* How does the program come to see /dev/vfio and the devices' part of /sys? */
enum uapi_sandbox {
	UAPI_SANDBOX_AUTO,   /* by mounts; by paths where those are refused */
	UAPI_SANDBOX_MOUNTS, /* in a mount namespace of its own, or the run fails */
	UAPI_SANDBOX_PATHS,  /* its system calls that take a path are answered (shadow.h) */
};

struct uapi_config {
	char **devices; /* MODEL[,key=value…]; what there is of tokens is written over when it is known */
	unsigned nr_devices;
	const struct uvfio_model *const *models;
	unsigned nr_models;
	struct vfio_policy policy;
	enum vfio_mmio_mode mmio;
	bool verbose;
	enum uapi_sys sys;
	enum uapi_sandbox sandbox;
	const char *trace; /* a file, or NULL */
	bool trace_json;
	/* Optional: called in S when the machine is made, and before it goes.  -1 with a message
	 * ends the run. */
	int (*serve)(const struct uapi_config *config, struct vfio_machine *machine,
		     struct uvfio_log *log, void **out, struct uvfio_error *err);
	void (*unserve)(const struct uapi_config *config, void *served);
	const char *control; /* for these: the control socket, or NULL */
	const char *name;    /* and the machine's name */
	/* Optional: called in S, gives the core of a machine that another process has, in place of
	 * one with these devices and this policy.  @join_fd (-1 without) is kept open for it and
	 * becomes the core's.  NULL with a message ends the run. */
	struct uapi_core *(*join)(const struct uapi_config *config, struct uvfio_log *log,
				  struct uvfio_error *err);
	int join_fd;
	const char *machine; /* its name, for messages */
	char **argv;         /* the program and its arguments, NULL terminated */
};

/* Runs the program; returns what to exit with, or dies of the signal that the program died of.
 * Call with one thread only.  Errors have been printed. */
int uapi_run(const struct uapi_config *config);

#endif
