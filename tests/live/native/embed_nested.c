/* Three interpreters on one thread, which call one another: the thread has a state of each.
 *
 * Runs the script argv[1] in each of them, then `work` of the first, which never returns; the module
 * `host` is how they call one another. */
#include <Python.h>
#include <stdio.h>

enum { INTERPRETERS = 3 };

static PyThreadState *states[INTERPRETERS];
static int current;

__attribute__((noinline)) static int call_main(const char *name)
{
	PyObject *function = PyObject_GetAttrString(PyImport_AddModule("__main__"), name);
	PyObject *result = function ? PyObject_CallObject(function, NULL) : NULL;

	Py_XDECREF(function);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* call(interpreter, name): calls __main__'s function of that name there, on this thread. */
static PyObject *cross(PyObject *module, PyObject *arguments)
{
	int there, before = current, failed;
	const char *name;

	if (!PyArg_ParseTuple(arguments, "is", &there, &name))
		return NULL;
	if (there < 0 || there >= INTERPRETERS) {
		PyErr_SetString(PyExc_ValueError, "there is no such interpreter");
		return NULL;
	}
	PyThreadState_Swap(states[there]);
	current = there;
	failed = call_main(name);
	if (failed)
		PyErr_Print();
	current = before;
	PyThreadState_Swap(states[before]);
	if (failed) {
		PyErr_SetString(PyExc_RuntimeError, "the call failed there");
		return NULL;
	}
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {{"call", cross, METH_VARARGS, NULL}, {NULL, NULL, 0, NULL}};
static PyModuleDef_Slot slots[] = {{0, NULL}};
static struct PyModuleDef host = {PyModuleDef_HEAD_INIT, "host", NULL, 0, methods, slots};

static PyObject *init_host(void)
{
	return PyModuleDef_Init(&host);
}

static int run_script(const char *path)
{
	FILE *file = fopen(path, "r");

	return file ? PyRun_SimpleFileEx(file, path, 1) : -1;
}

int main(int argc, char **argv)
{
	if (argc != 2 || PyImport_AppendInittab("host", init_host))
		return 2;
	Py_Initialize();
	states[0] = PyThreadState_Get();
	for (int i = 1; i < INTERPRETERS; i++)
		states[i] = Py_NewInterpreter();
	for (current = INTERPRETERS - 1; current >= 0; current--) {
		PyThreadState_Swap(states[current]);
		if (run_script(argv[1]))
			return 1;
	}
	current = 0;
	puts("ready");
	fflush(stdout);
	call_main("work"); /* it ends by an error only */
	PyErr_Print();
	return 1;
}
