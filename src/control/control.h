/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Door 4: control of a machine by JSON-RPC 2.0 on a UNIX stream socket, for `uvfio list` and so on
 * and for automation.  docs/control.md is the protocol.
 *
 * Theory of operation.  A loop of its own accepts connections and answers; nothing there waits.
 * What waits (a reset, adding, removing) runs in worker threads, and is answered when it is done.
 * All that a client can make the server keep is bounded; see control_private.h.
 *
 * Who may connect: root, the user that the server runs as, and whom the config names; the socket's
 * mode decides who gets as far as being asked.
 */
#ifndef UVFIO_CONTROL_CONTROL_H
#define UVFIO_CONTROL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <uvfio/device.h>

struct control;
struct json_object;
struct uvfio_log;
struct vfio_device;
struct vfio_machine;

/* A file that a client has opened for `add`, because the server may not be able to. */
struct control_fd {
	const char *key;   /* of the device's options, or "socket": a listening socket */
	const char *value; /* what the option says, for messages; "" when nothing */
	int fd;            /* close-on-exec; closed when ->add() returns: duplicate what is kept */
};

struct control_add {
	const char *spec; /* as behind --device: "nvme,file=disk.img", options of the server
			   * included as the client wrote them */
	const struct control_fd *fds;
	unsigned nr_fds;
};

/* What the server does; any may be NULL: then it says that it cannot. */
/* How a device is to be removed. */
enum control_removal {
	CONTROL_ASK,      /* its users let go */
	CONTROL_FORCE,    /* it is taken from them, and their connections are closed */
	CONTROL_SURPRISE, /* it is pulled out, and then they are asked to let go */
};

struct control_ops {
	/* [worker thread, may wait] Add a device, and fill in its name. 0 or -errno with a message.
	 */
	int (*add)(void *arg, const struct control_add *add, char name[16],
		   struct uvfio_error *err);
	/* [worker thread, may wait] Remove it: asks its users to let go and waits for them, which
	 * may last for ever, so the server makes it return before control_free().  0 or -errno with
	 * a message. */
	int (*remove)(void *arg, const char *name, enum control_removal how,
		      struct uvfio_error *err);
	/* [the control's loop, must not wait] Put what the server knows of @dev into @out, an
	 * object that `show` has as "door": its socket, who is connected. */
	void (*describe)(void *arg, struct vfio_device *dev, struct json_object *out);
	/* [worker thread] A runner joins (src/join): @sock is its first channel, taken also on
	 * failure; @uid is who it is.  0 or -errno with a message. */
	int (*join)(void *arg, int sock, uid_t uid, struct uvfio_error *err);
	/* [the control's loop, must not wait] A connected vfio-user socket to the device that @name
	 * names, with a token or without (wire_open_device()): the caller's; or -errno with a message. */
	int (*open)(void *arg, const char *name, struct uvfio_error *err);
	/* [worker thread, may wait] Exchange the server for a new one: returns only when that has
	 * failed, -errno with a message. */
	int (*upgrade)(void *arg, struct uvfio_error *err);
	/* [worker thread] Device @name has been moved away: none of the server's connections to it
	 * is answered any more when this returns, and they are closed. */
	void (*hang_up)(void *arg, const char *name);
};

struct control_config {
	const char *name;              /* of the machine, for people; copied */
	const char *command;           /* what this server is: "serve", "run"; copied */
	const struct control_ops *ops; /* may be NULL; stays valid */
	void *ops_arg;
	uid_t uid;             /* may connect, besides root and the effective user */
	struct uvfio_log *log; /* may be NULL */
};

/* Serve control of @machine at @listen_fd, a listening UNIX stream socket, which becomes the
 * control's.  NULL with a message; @listen_fd is the caller's then. */
struct control *control_new(struct vfio_machine *machine, int listen_fd,
			    const struct control_config *config, struct uvfio_error *err);
/* Closes the connections, waits for what workers have begun.  Before the machine is freed. */
void control_free(struct control *control);

/* ---- where the socket is ---- */

#define CONTROL_DEFAULT_MACHINE "default"
#define CONTROL_PATH_MAX        108u /* bytes, as sockaddr_un has */

/* The directory of the sockets of this user: /run/uvfio for root, else $XDG_RUNTIME_DIR/uvfio.
 * -ENOENT with a message when there is none. */
int control_directory(char out[CONTROL_PATH_MAX], struct uvfio_error *err);
/* The socket of machine @name: DIRECTORY/NAME.sock.  -EINVAL for a name that is not made of
 * letters, digits, '.', '_' and '-' or starts with '.' or '-', or is too long. */
int control_path(const char *name, char out[CONTROL_PATH_MAX], struct uvfio_error *err);
/* A listening socket at @path with mode @mode (0600); its directory is made if it is the default
 * one.  A socket that a server has left behind is replaced, one that is in use is -EADDRINUSE.  An
 * fd, or -errno with a message.  Remove the file with unlink(2) in the end. */
int control_listen(const char *path, mode_t mode, struct uvfio_error *err);
/* Give the socket at @path, which this user has just made there, to the group @gid (-1: leave it),
 * then set its permissions.  0 or -errno: -EEXIST when something else is there by now, which is
 * left alone. */
int control_socket_rights(const char *path, gid_t gid, mode_t mode);
/* A connected socket, or -errno: -ENOENT and -ECONNREFUSED mean that no server is there. */
int control_connect(const char *path);

#endif
