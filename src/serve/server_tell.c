/* SPDX-License-Identifier: BSD-3-Clause */
/* What the keeper tells, and what it is answered. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/handover.h"
#include "serve/server_private.h"
#include "serve/vf_sockets.h"

static void answer(struct server *server, const struct serve_message *msg, int ret,
		   const char *text)
{
	const struct serve_message done = {.kind = SERVE_DONE, .value = ret, .id = msg->id};

	serve_send(server->config->tell, &done, text, -1);
}

void server_tell_started(struct server *server, int ret, const char *text)
{
	const struct serve_message started = {.kind = SERVE_STARTED, .value = ret};

	serve_send(server->config->tell, &started, text, -1);
}

void server_listen(struct server *server)
{
	static const char no_socket[] = "no socket came with it";
	char *text = malloc(SERVE_MAX_TEXT);
	struct serve_message msg;
	char name[16];
	int fd, ret;

	while (text && serve_receive(server->config->tell, &msg, text, &fd) == 1) {
		struct uvfio_error err = {""};

		switch (msg.kind) {
		case SERVE_ADD:
			ret = -EPROTO;
			if (fd < 0)
				uvfio_error_set(&err, ret, no_socket);
			else
				ret = server_add_device(server, msg.id, text, fd, name, &err);
			explicit_bzero(text, SERVE_MAX_TEXT); /* there may be a token in it */
			answer(server, &msg, ret, ret ? err.msg : name);
			break;
		case SERVE_STATE:
			server_state_came(server, &msg, fd);
			break;
		case SERVE_SAVE:
			ret = server_state_save(server, msg.id, fd, &err);
			answer(server, &msg, ret, err.msg);
			break;
		case SERVE_REMOVE:
			ret = server_remove_device(server, msg.id, NULL, CONTROL_FORCE, &err);
			answer(server, &msg, ret, err.msg);
			break;
		case SERVE_VF_SOCKET:
			server_vf_socket(server, &msg, fd);
			break;
		case SERVE_GIVE:
			ret = server_give(server, fd, &err);
			answer(server, &msg, ret, err.msg);
			break;
		case SERVE_BACK:
			server_back(server, text);
			break;
		case SERVE_TAKE:
			ret = server_take(server, fd, &err);
			answer(server, &msg, ret, err.msg);
			break;
		case SERVE_READY:
			server_arrived(server);
			ret = server_start_control(server, &err);
			if (ret)
				server_tell_started(server, ret, err.msg);
			break;
		default: /* END */
			free(text);
			return;
		}
	}
	free(text);
}
