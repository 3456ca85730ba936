/* SPDX-License-Identifier: BSD-3-Clause */
/* `upgrade`: a new server takes the place of this one (serve/keeper_upgrade.c).  There is an answer
 * only when it does not: else this process has ended, and the connection with it. */
#include <errno.h>
#include "control/control_private.h"
#include "control/jobs.h"

static void run_upgrade(struct job *job)
{
	const struct control *control = job->control;
	int ret = control->ops->upgrade(control->ops_arg, &job->err.msg);

	if (ret) {
		job->err.code = RPC_FAILED;
		job->err.error = ret;
	}
}

struct json_object *method_upgrade(struct call *call, struct json_object *params,
				   struct rpc_error *err)
{
	const struct control *control = call->client->control;
	struct job *job;

	if (!control->ops->upgrade)
		return rpc_fail(err, RPC_UNSUPPORTED, -EOPNOTSUPP,
				"`uvfio %s` cannot be exchanged while it runs", control->command);
	job = job_new(call, run_upgrade, err);
	if (job)
		job_start(job);
	return NULL;
}
