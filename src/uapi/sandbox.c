/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include "base/log.h"
#include "uapi/filter.h"
#include "uapi/kept.h"
#include "uapi/migration.h"
#include "uapi/process.h"
#include "uapi/sandbox.h"
#include "uapi/shadow.h"
#include "uapi/sysfs.h"

static int make_shadow(struct uapi_server *server, int refused, int tree, struct uvfio_error *err)
{
	const struct uapi_config *config = server->config;
	int sysdir;

	if (config->sys == UAPI_SYS_ON)
		return uvfio_error_set(err, -ENOTSUP,
				       "--sysfs on: /sys can be served only where the program gets "
				       "mounts of its own, which --sandbox paths does without");
	if (config->sandbox == UAPI_SANDBOX_AUTO)
		uvfio_log(server->log, UVFIO_LOG_INFO,
			  "no mount namespace (%s): the program's paths are answered one by one "
			  "(--sandbox paths), and writing to /sys has no effect",
			  strerror(refused));
	server->shadow = uapi_shadow_new(tree, err);
	if (!server->shadow)
		return -1;
	server->nodes = uapi_fd_above_stdio(
		uapi_shadow_open(server->shadow, TREE_DEV_VFIO, O_RDONLY | O_DIRECTORY));
	sysdir = uapi_shadow_open(server->shadow, "/sys/bus/pci/devices", O_RDONLY | O_DIRECTORY);
	if (sysdir >= 0) { /* else there is no device */
		server->sysfs = uapi_sysfs_new(server->core, sysdir);
		close(sysdir);
	}
	return server->nodes < 0 ? uvfio_error_set(err, server->nodes,
						   "the program's /dev/vfio cannot be opened: %s",
						   strerror(-server->nodes))
				 : 0;
}

int uapi_sandbox_begin(struct uapi_server *server, pid_t pid, int refused, int tree,
		       struct uvfio_error *err)
{
	unsigned what = 0;
	int ret;

	if (refused) {
		ret = make_shadow(server, refused, tree, err);
		if (ret)
			return ret;
		what |= UAPI_FILTER_PATHS;
	}
	if (uapi_kept_needed(pid)) {
		server->kept = uapi_kept_new();
		if (!server->kept)
			return uvfio_error_set(err, -ENOMEM, "out of memory");
		uvfio_log(
			server->log, UVFIO_LOG_INFO,
			"pidfd_getfd is refused: the program's eventfds are kept from their making");
		what |= UAPI_FILTER_EVENTFDS;
	}
	return (int)what;
}

void uapi_sandbox_migration(struct uapi_server *server, int fuse, int mount)
{
	struct uvfio_error err = {""};

	server->migrations = uapi_migrations_new(server->core, fuse, mount, &err);
	if (!server->migrations)
		uvfio_log(server->log, UVFIO_LOG_INFO, "devices offer no migration: %s", err.msg);
}

void uapi_sandbox_no_migration(struct uapi_server *server)
{
	uapi_migrations_free(server->migrations);
	server->migrations = NULL;
}

void uapi_sandbox_end(struct uapi_server *server)
{
	uapi_kept_free(server->kept);
	server->kept = NULL;
	uapi_shadow_free(server->shadow);
	server->shadow = NULL;
}
