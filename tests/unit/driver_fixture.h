/* SPDX-License-Identifier: BSD-3-Clause */
/* One server of driver_server.h for each test of a file. */
#ifndef TESTS_UNIT_DRIVER_FIXTURE_H
#define TESTS_UNIT_DRIVER_FIXTURE_H

#include <stdio.h>
#include "driver_server.h"

static struct server server;
static char name[128]; /* of its device, to open it by */

static int setup(void **state)
{
	server_init(&server);
	snprintf(name, sizeof(name), "unix:%s", server.path);
	return 0;
}

static int teardown(void **state)
{
	server_fini(&server);
	return 0;
}

#endif
