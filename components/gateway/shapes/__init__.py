"""What Marathon and Metronome answered, key by key: the only place where their JSON is made.

Rule of this room: pure. Rows and facts in, plain values out; an absent key is as much part of a shape as one that is
there. (Marathon: `types/*.raml`, `raml/AppConversion.scala`; Metronome: `api/v1/models`)
"""
