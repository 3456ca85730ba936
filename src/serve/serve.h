/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * `uvfio serve`: a machine of devices, each on a vfio-user socket of its own.
 *
 * Theory of operation.  Two processes:
 *
 *      keeper ── tell ──▶ server         add, remove, end; and what came of it
 *         ▲                  │
 *         └────── ask ───────┘           open this file, connect to that server
 *
 * The keeper is the process that was started.  It keeps the rights and the working directory of who
 * started it, and has no threads and no clients: it reads the configuration, makes the sockets,
 * opens files, takes signals.  The server has the clients.  It confines itself before it makes a
 * device (confine.h), so every file and socket comes to it as a descriptor: from the keeper, or,
 * for what `uvfio add` adds, from whoever runs that.
 *
 * The keeper does not trust the server: it opens only what the options of a device name, and only
 * for reading or writing what exists.  It does so in a child of its own for each request, so that a
 * file system or server that does not answer holds up nothing else.
 *
 * The server ends when the keeper does, however that ends.
 */
#ifndef UVFIO_SERVE_SERVE_H
#define UVFIO_SERVE_SERVE_H

#include <stdbool.h>
#include <sys/types.h>
#include <uvfio/device.h>
#include "vfio/token.h"
#include "vfio/vfio.h"

/* One device, as --device or the configuration file says it. */
struct serve_device {
	char *spec;  /* "MODEL,key=value…", with the socket's keys; owned */
	char *where; /* for messages: "--device nvme,…", "serve.json, line 3"; owned */
	/* vf_token= of @spec, where it is written over; until the server has it. */
	bool has_token;
	struct vfio_token token;
};

struct serve_devices {
	struct serve_device *list;
	unsigned nr;
};

/* Both are copied; 0, or -errno with a message. */
int serve_devices_add(struct serve_devices *devices, const char *spec, const char *where,
		      struct uvfio_error *err);
void serve_devices_fini(struct serve_devices *devices);

struct serve_config {
	const struct uvfio_model *const *models;
	unsigned nr_models;
	struct vfio_policy policy;
	struct serve_devices devices; /* which never change */
	/* Read the devices of the configuration file into @out: at start and at SIGHUP.  NULL:
	 * there is none.  0, or -errno with a message. */
	int (*load)(void *arg, struct serve_devices *out, struct uvfio_error *err);
	void *load_arg;
	const char
		*machine; /* the name of its control socket; NULL: the default one if it is free */
	const char *control; /* path of the control socket, "off", or NULL: by @machine */
	const char
		*user; /* whose rights the server has; NULL: the keeper's, without capabilities */
	const char *sysfs; /* a directory where the machine is shown as /sys does, or NULL */
	const char *state; /* a directory for what devices are between two servers, or NULL */
	bool fresh;        /* a state that cannot be used: begin anew without it */
	/* What this program is, and its arguments: what the new server is started by (`uvfio
	 * upgrade`); NULL: it cannot be. */
	const char *exe;
	char *const *argv;
	bool unconfined;
	bool verbose;
};

/* Serve until SIGTERM or SIGINT.  The exit status: 0, or 1 after a message on standard error. */
int serve_run(const struct serve_config *config);

#endif
