/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections that are handed out, in place of a socket to connect to: by name and token (C).
 *
 * A listener that is made for that listens nowhere and stays: there are no more of them than
 * devices that ever had the same address.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "vfio/host.h"
#include "vfio/observe.h"
#include "wire/wire_private.h"

/* server->lock is held. */
static struct wire_listener *find_locked(struct wire_server *server, const char *device)
{
	struct wire_listener *listener;

	TAILQ_FOREACH(listener, &server->listeners, next)
	{
		if (!listener->left && !listener->closing && !strcmp(listener->device, device))
			break;
	}
	return listener;
}

struct wire_listener *wire_take_made(struct wire_server *server, const char *device,
				     const struct wire_options *options)
{
	struct wire_listener *listener;

	pthread_mutex_lock(&server->lock);
	listener = find_locked(server, device);
	if (listener && !listener->made)
		listener = NULL;
	if (listener) {
		listener->made = false;
		/* Nobody looks at these before it listens. */
		listener->options.has_token = options->has_token;
		listener->options.token = options->token;
	}
	pthread_mutex_unlock(&server->lock);
	return listener;
}

static struct wire_listener *find_and_pin(struct wire_server *server, const char *device)
{
	struct wire_listener *listener;

	pthread_mutex_lock(&server->lock);
	listener = find_locked(server, device);
	if (listener)
		listener->pins++;
	pthread_mutex_unlock(&server->lock);
	return listener;
}

static void unpin(struct wire_listener *listener)
{
	struct wire_server *server = listener->server;

	pthread_mutex_lock(&server->lock);
	listener->pins--;
	wire_listener_reap_locked(listener);
	pthread_mutex_unlock(&server->lock);
}

/* Pinned.  Two that come together must not make two. */
static struct wire_listener *find_or_make(struct wire_server *server, const char *device,
					  const struct wire_options *options,
					  struct uvfio_error *err)
{
	struct wire_listener *listener;

	pthread_mutex_lock(&server->open_lock);
	listener = find_and_pin(server, device);
	if (!listener && !wire_make_listener(server, device, options, err))
		listener = find_and_pin(server, device);
	pthread_mutex_unlock(&server->open_lock);
	return listener;
}

static int connect_to(struct wire_server *server, const char *device,
		      const struct vfio_token *token, const struct wire_options *options,
		      struct uvfio_error *err)
{
	struct wire_listener *listener = find_or_make(server, device, options, err);
	int pair[2], ret;

	if (!listener) /* or it is being removed */
		return err->msg[0] ? -ENOMEM : uvfio_error_set(err, -ENODEV, "%s has gone", device);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair)) {
		ret = uvfio_error_set(err, -errno, "making a pair of sockets: %s", strerror(errno));
	} else {
		ret = wire_adopt_with(listener, pair[1], token);
		if (ret)
			close(pair[0]);
		if (ret)
			uvfio_error_set(err, ret, "%s: %s", device,
					ret == -EMFILE ? "too many clients wait for it"
						       : strerror(-ret));
	}
	unpin(listener);
	return ret ? ret : pair[0];
}

/* May it be opened at all? */
static int check(struct wire_server *server, const char *device, const struct vfio_token *token,
		 struct uvfio_error *err)
{
	struct vfio_device *dev = vfio_machine_get_device(server->machine, device);
	struct vfio_bus_state bus;
	int ret;

	if (!dev)
		return uvfio_error_set(err, -ENODEV, "there is no device %s", device);
	vfio_device_bus_state(dev, &bus);
	ret = vfio_device_bound(dev) && !bus.leaving ? vfio_device_token_allows(dev, token)
						     : -ENODEV;
	vfio_device_put(dev);
	if (ret == -ENODEV)
		return uvfio_error_set(err, ret, "%s: vfio-pci does not have it, or is losing it",
				       device);
	if (ret == -EINVAL)
		return uvfio_error_set(
			err, ret,
			"%s: a VF token was given, and it takes none: it is no PF, and "
			"no VF that its PF has enabled by vfio-pci",
			device);
	if (ret)
		return uvfio_error_set(err, ret,
				       token ? "%s: this is not the VF token of its PF"
					     : "%s: it takes the VF token of its PF: NAME "
					       "vf_token=UUID",
				       device);
	return 0;
}

int wire_open_device(struct wire_server *server, const char *name,
		     const struct wire_options *options, struct uvfio_error *err)
{
	size_t len = strcspn(name, " ");
	struct vfio_token token;
	char device[16] = "";
	int ret, given;

	if (len >= sizeof(device))
		return uvfio_error_set(err, -ENODEV,
				       "there is no device %.20s…; one looks like 0000:01:00.0",
				       name);
	memcpy(device, name, len);
	given = vfio_token_options(name + len, &token);
	if (given < 0) {
		vfio_token_wipe(&token);
		return uvfio_error_set(err, given,
				       "%s: behind the name there may be one vf_token=UUID, and "
				       "nothing else",
				       device);
	}
	ret = check(server, device, given ? &token : NULL, err);
	if (!ret)
		ret = connect_to(server, device, given ? &token : NULL, options, err);
	vfio_token_wipe(&token);
	return ret;
}
