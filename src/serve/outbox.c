/* SPDX-License-Identifier: BSD-3-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "serve/outbox.h"
#include "vfio/token.h"

static void drop_first(struct serve_outbox *box)
{
	vfio_token_wipe_text(box->waiting[0].text);
	free(box->waiting[0].text);
	if (box->waiting[0].fd >= 0)
		close(box->waiting[0].fd);
	box->nr--;
	memmove(box->waiting, box->waiting + 1, box->nr * sizeof(box->waiting[0]));
}

static int keep(struct serve_outbox *box, const struct serve_message *msg, const char *text, int fd)
{
	struct serve_outgoing *out = &box->waiting[box->nr];

	if (box->nr == SERVE_OUTBOX_MAX)
		return -ENOBUFS;
	*out = (struct serve_outgoing){.msg = *msg, .fd = -1};
	if (text) {
		out->text = strdup(text);
		if (!out->text)
			return -ENOMEM;
	}
	if (fd >= 0) {
		out->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		if (out->fd < 0) {
			vfio_token_wipe_text(out->text);
			free(out->text);
			return -errno;
		}
	}
	box->nr++;
	return 0;
}

int serve_outbox_send(struct serve_outbox *box, const struct serve_message *msg, const char *text,
		      int fd)
{
	int ret = -EAGAIN;

	serve_outbox_flush(box);
	if (!box->nr)
		ret = serve_send(box->sock, msg, text, fd);
	return ret == -EAGAIN ? keep(box, msg, text, fd) : ret;
}

void serve_outbox_flush(struct serve_outbox *box)
{
	while (box->nr) {
		struct serve_outgoing *out = &box->waiting[0];

		/* Any other failure: it has gone, which is heard of by its end. */
		if (serve_send(box->sock, &out->msg, out->text, out->fd) == -EAGAIN)
			return;
		drop_first(box);
	}
}

void serve_outbox_fini(struct serve_outbox *box)
{
	while (box->nr)
		drop_first(box);
}
