/* Threads of C that call into an interpreter, and leave it again, in a loop.
 *
 * Runs the script argv[1]; then each thread calls its function `visit`, which may call the module
 * host's `again`: that leaves the interpreter and comes back to `inner` on the same thread. */
#include <Python.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum { THREADS = 2, OUTSIDE = 300000 };

static PyObject *visit, *inner;

/* PyGILState_Ensure gives a thread the state that it has already, or else a new one. */
__attribute__((noinline)) static int call_in(PyObject *function)
{
	PyGILState_STATE before = PyGILState_Ensure();
	PyObject *result = PyObject_CallObject(function, NULL);
	int failed = !result;

	if (failed)
		PyErr_Print();
	Py_XDECREF(result);
	PyGILState_Release(before);
	return failed;
}

static PyObject *again(PyObject *module, PyObject *arguments)
{
	PyThreadState *state = PyEval_SaveThread();
	int failed = call_in(inner);

	PyEval_RestoreThread(state);
	if (failed) {
		PyErr_SetString(PyExc_RuntimeError, "the call failed");
		return NULL;
	}
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"again", again, METH_NOARGS, NULL}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef host = {PyModuleDef_HEAD_INIT, "host", NULL, -1, methods};

static PyObject *init_host(void)
{
	return PyModule_Create(&host);
}

__attribute__((noinline)) static void stay_outside(void)
{
	volatile unsigned long burnt = 0;

	for (long i = 0; i < OUTSIDE; i++)
		burnt = burnt * 31 + 7;
}

static void *caller(void *unused)
{
	do
		stay_outside();
	while (!call_in(visit));
	_exit(1);
}

int main(int argc, char **argv)
{
	FILE *file = argc == 2 ? fopen(argv[1], "r") : NULL;
	pthread_t thread;
	PyObject *names;

	if (!file || PyImport_AppendInittab("host", init_host))
		return 2;
	Py_Initialize();
	if (PyRun_SimpleFileEx(file, argv[1], 1))
		return 1;
	names = PyImport_AddModule("__main__");
	visit = PyObject_GetAttrString(names, "visit");
	inner = PyObject_GetAttrString(names, "inner");
	if (!visit || !inner)
		return 1;
	PyEval_SaveThread();
	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&thread, NULL, caller, NULL))
			return 2;
	puts("ready");
	fflush(stdout);
	for (;;)
		pause();
}
