/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper's part of --state: which device is to be saved or has a state, and what became of it;
 * the files are state.c's, what is in them the server's. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "serve/channel.h"
#include "serve/keeper.h"

int keeper_state_load(struct keeper *keeper, struct entry *e, struct uvfio_error *err)
{
	const struct serve_message msg = {
		.kind = SERVE_STATE, .id = e->id, .value = keeper->config->fresh};
	struct uvfio_error why = {""};
	int fd, ret;

	if (!keeper->states)
		return 0;
	fd = serve_state_take(keeper->states, e->spec.socket, e->said.spec, &why);
	if (fd == -ENOENT)
		return 0;
	if (fd < 0 && keeper->config->fresh) {
		keeper_complain("%s: %s; it begins anew", e->said.where, why.msg);
		return 0;
	}
	if (fd < 0)
		return uvfio_error_set(err, fd, "%s (--fresh begins anew without it)", why.msg);
	e->has_state = true;
	ret = serve_outbox_send(&keeper->tell, &msg, NULL, fd);
	close(fd);
	return ret ? uvfio_error_set(err, ret, "%s", strerror(-ret)) : 0;
}

void keeper_state_loaded(struct keeper *keeper, struct entry *e, bool ok)
{
	if (e->has_state)
		serve_state_taken(keeper->states, e->spec.socket,
				  ok ? SERVE_STATE_USED : SERVE_STATE_BACK);
	e->has_state = false;
}

void keeper_state_refused(struct keeper *keeper, struct entry *e, const char *why)
{
	keeper_complain(
		"%s: its state cannot be used: %s; it begins anew, and the state is kept as "
		".refused",
		e->said.where, why);
	if (e->has_state)
		serve_state_taken(keeper->states, e->spec.socket, SERVE_STATE_REFUSED);
	e->has_state = false;
}

/* ---- at the end ---- */

static bool begin(struct keeper *keeper, struct entry *e)
{
	const struct serve_message msg = {.kind = SERVE_SAVE, .id = e->id};
	struct uvfio_error err = {""};
	int fd = serve_state_begin(keeper->states, e->spec.socket, e->said.spec, &err), ret;

	ret = fd < 0 ? fd : serve_outbox_send(&keeper->tell, &msg, NULL, fd);
	if (fd >= 0)
		close(fd);
	e->state = ret ? ENTRY_SAVED : ENTRY_SAVING;
	if (!ret)
		return true;
	keeper_complain("%s: it is not saved: %s", e->said.where,
			err.msg[0] ? err.msg : strerror(-ret));
	return false;
}

bool keeper_state_save(struct keeper *keeper)
{
	for (struct entry *e = keeper->entries; e; e = e->next)
		if (e->state == ENTRY_UP && begin(keeper, e))
			return true;
	return false;
}

void keeper_state_saved(struct keeper *keeper, struct entry *e, int result, const char *why)
{
	struct uvfio_error err = {""};
	int ret = serve_state_end(keeper->states, e->spec.socket, !result, &err);

	e->state = ENTRY_SAVED;
	if (result || ret)
		keeper_complain("%s: it is not saved, and its next user finds it reset: %s",
				e->said.where, result ? why : err.msg);
}
