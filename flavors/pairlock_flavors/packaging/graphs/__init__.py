"""Makes the graph of a package for the onnx runtime, and proves it.

`exporting` asks torch for a graph, `binding` takes the weights out of it again, `adapting` puts a
LoRA where a base's graph has a weight, `tokenizing` records how texts become tokens; `compiling`
puts them together.
"""
