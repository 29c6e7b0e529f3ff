"""Index builds in a process of their own: cancellable, resumed after a kill, reused by content.

`ProcessEngine` (`engine`) is what a node uses: it runs small builds itself and gives the others to a child
(`python -m vectorfleet_node.engine.builder`), which `child` starts and ends. In the child `worker` does the work and
keeps what a later build may need below `<cache>/.builds`: `checkpoint` a graph that is half done, `kept` finished
artefacts.
"""
